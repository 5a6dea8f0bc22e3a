//! The compute node: a pure core that queues and the shell that runs.
