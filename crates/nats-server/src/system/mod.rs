//! What the server says about itself on subjects that begin with `$SYS.`: answers to requests, most of them only for users
//! of the system account, and events that are published in that account.
//!
//! The loop thread (`reactor::system`) answers at once what it knows, and does the publishing. Answers that need a walk
//! over tables, and those with options to be read, are made by a thread of their own, the desk, which is started for the
//! first request. It uses the documents of `monitor`.

mod answers;
mod desk;
mod events;
mod options;
mod server;
mod subjects;
mod user;

pub(crate) use answers::{claims_updated, done, failed, id_only};
pub(crate) use desk::{Desk, Job, Said, What};
pub(crate) use events::{Conns, Disconnect, connect, disconnect};
pub(crate) use options::{MAX_BODY, connection_number};
pub(crate) use server::ServerBlock;
pub(crate) use subjects::{AccountRequest, Request, ServerRequest, parse};
pub(crate) use user::{UserInfo, user_info};
