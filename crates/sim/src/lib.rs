//! Deterministic simulation of a whole cluster; named invariants.
