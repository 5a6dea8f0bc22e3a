//! Counters. The loop thread counts in plain integers and publishes them after each round of work; readers see a
//! value that is at most one round old. Never a lock on the data path.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A snapshot of the server's counters. "in" and "out" are seen from the server; bytes are headers + payload.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// Where the loop thread publishes its counters.
        #[derive(Default)]
        pub(crate) struct SharedStats {
            $($name: AtomicU64,)*
        }

        impl SharedStats {
            /// Called by the loop thread only.
            pub(crate) fn publish(&self, from: &Stats) {
                $(self.$name.store(from.$name, Relaxed);)*
            }

            /// A snapshot; the fields may be one round apart from each other.
            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Socket connections open now.
    connections,
    /// Local clients open now.
    local_clients,
    /// Socket connections accepted since start.
    total_connections,
    /// Subscriptions now, of sockets and local clients.
    subscriptions,
    /// Messages received from publishers.
    in_msgs,
    /// Messages queued to subscribers.
    out_msgs,
    /// Bytes received from publishers.
    in_bytes,
    /// Bytes queued to subscribers.
    out_bytes,
    /// Connections dropped because they read too slowly (pending bytes or write deadline).
    slow_consumers,
    /// Local subscriptions ended because their reader did not keep up.
    local_overflows,
    /// Times a publisher was held back because a receiver was near its limit.
    stalls,
    /// Connections closed because they answered no PING.
    stale_connections,
    /// Failed authentications, with those that timed out.
    auth_failures,
    /// TLS handshakes that came to no good end.
    tls_failures,
    /// Connections refused because of `max_connections`.
    refused_connections,
    /// Connections closed for breaking the protocol or a limit.
    protocol_errors,
}
