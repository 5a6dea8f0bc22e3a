//! A compute node reduced to its socket: it joins, shows that it lives and reads what it is told.

use crate::jobs;
use bacalhau_wire::headers::Headers;
use bacalhau_wire::messages::{ControlRequest, Family, HandshakeRequest, HeartbeatRequest};
use bacalhau_wire::metadata::Metadata;
use bacalhau_wire::{envelope, subjects};
use std::process::{Child, ChildStdin, Command, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// An orchestrator in a process of its own; it ends with this value.
pub struct Server {
    pub child: Child,
    pub port: u16,
    _input: ChildStdin,
}

impl Server {
    pub fn start() -> Server {
        let mut command: Command = crate::part("server");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a server");
        let input = child.stdin.take().expect("its input");
        let mut output = std::io::BufReader::new(child.stdout.take().expect("its output"));
        let mut port = String::new();
        std::io::BufRead::read_line(&mut output, &mut port).expect("its port");
        Server { child, port: port.trim().parse().expect("a port"), _input: input }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then its figures were an error already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connected node.
pub struct Node {
    pub id: String,
    number: usize,
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

/// A message as it came.
pub struct Told {
    pub subject: String,
    pub reply: Option<String>,
    pub payload: Vec<u8>,
}

impl Node {
    /// Connects and shakes hands.
    pub async fn join(port: u16, number: usize) -> Node {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let (read, write) = stream.into_split();
        let id = jobs::node(number).node_id;
        let mut node = Node { id: id.clone(), number, read: BufReader::with_capacity(2048, read), write };
        let connect = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"name\":\"{id}\"}}\r\n\
             SUB _INBOX.{id}.> 1\r\nSUB {} 2\r\n",
            subjects::messages(&id)
        );
        node.write.write_all(connect.as_bytes()).await.expect("sent");
        let node_info = jobs::node(number);
        let hello = HandshakeRequest { node_info, ..HandshakeRequest::default() };
        node.ask(ControlRequest::Handshake(Box::new(hello))).await;
        node.next().await;
        node
    }

    pub async fn heartbeat(&mut self) {
        let capacity = jobs::node(self.number).compute_node_info.max_capacity;
        let beat = HeartbeatRequest {
            node_id: self.id.clone(),
            available_capacity: capacity,
            ..HeartbeatRequest::default()
        };
        self.ask(ControlRequest::Heartbeat(beat)).await;
    }

    async fn ask(&mut self, request: ControlRequest) {
        let metadata = Metadata::new(request.type_name(), &self.id, 1);
        let payload = match &request {
            ControlRequest::Handshake(m) => envelope::encode(&metadata, m),
            ControlRequest::Heartbeat(m) => envelope::encode(&metadata, m),
            _ => panic!("never sent here"),
        };
        let reply = format!("_INBOX.{}.1", self.id);
        self.publish(
            &subjects::control(&self.id),
            Some(&reply),
            &metadata.to_headers(),
            &payload.expect("bytes"),
        )
        .await;
    }

    pub async fn publish(&mut self, subject: &str, reply: Option<&str>, headers: &Headers, payload: &[u8]) {
        let block = headers.to_block();
        let (reply, total) = (reply.unwrap_or_default(), block.len() + payload.len());
        let mut frame = match block.is_empty() {
            true => format!("PUB {subject} {reply} {total}\r\n"),
            false => format!("HPUB {subject} {reply} {} {total}\r\n", block.len()),
        }
        .into_bytes();
        frame.extend_from_slice(&block);
        frame.extend_from_slice(payload);
        frame.extend_from_slice(b"\r\n");
        self.write.write_all(&frame).await.expect("sent");
    }

    /// The next message; pings are answered on the way.
    pub async fn next(&mut self) -> Told {
        loop {
            let mut line = String::new();
            let read = self.read.read_line(&mut line).await.expect("a line");
            assert!(read > 0, "the server closed the connection of {}", self.id);
            let words: Vec<&str> = line.split_whitespace().collect();
            let (with_headers, rest) = match words.as_slice() {
                ["MSG", rest @ ..] => (false, rest),
                ["HMSG", rest @ ..] => (true, rest),
                ["PING"] => {
                    self.write.write_all(b"PONG\r\n").await.expect("sent");
                    continue;
                }
                ["-ERR", ..] => panic!("{line}"),
                _ => continue,
            };
            let sizes = if with_headers { 2 } else { 1 };
            let (head, sizes) = rest.split_at(rest.len() - sizes);
            let total: usize = sizes[sizes.len() - 1].parse().expect("a size");
            let block: usize = if with_headers { sizes[0].parse().expect("a size") } else { 0 };
            let (subject, reply) = (head[0].to_owned(), head.get(2).map(|r| (*r).to_owned()));
            let mut body = vec![0; total + 2];
            self.read.read_exact(&mut body).await.expect("a body");
            return Told { subject, reply, payload: body[block..total].to_vec() };
        }
    }
}
