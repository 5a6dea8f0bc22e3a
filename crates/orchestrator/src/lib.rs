//! The orchestrator: a pure core that decides and the shell that does.
