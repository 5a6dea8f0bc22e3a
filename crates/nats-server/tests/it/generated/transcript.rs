//! What a server said, in a form in which two servers can be compared.

/// Members of INFO that describe the server and not its behaviour.
const OWN: &[&str] =
    &["server_id", "server_name", "version", "go", "git_commit", "api_lvl", "xkey", "client_id", "port"];

const NO_RESPONDERS: &[u8] = b"\r\nNATS/1.0 503\r\nNats-Subject: ";

/// The bytes of one connection.
#[derive(Default)]
pub(super) struct Transcript {
    bytes: Vec<u8>,
    /// Where the first frame that is not complete begins.
    read: usize,
    frames: Vec<Frame>,
    pub(super) pongs: usize,
    pub(super) nonce: String,
}

enum Frame {
    Line(Vec<u8>),
    Message { subject: Vec<u8>, sid: Vec<u8>, tail: Vec<u8> },
}

impl Transcript {
    /// Takes in what came.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        while let Some((frame, len)) = frame(&self.bytes[self.read..]) {
            self.read += len;
            self.note(frame);
        }
    }

    pub(super) fn has_greeting(&self) -> bool {
        !self.frames.is_empty()
    }

    fn note(&mut self, frame: Frame) {
        match &frame {
            Frame::Line(line) if line == b"PONG\r\n" => self.pongs += 1,
            // When a server asks whether its client lives is a matter of time.
            Frame::Line(line) if line == b"PING\r\n" => return,
            Frame::Line(line) => {
                if let Some(json) = line.strip_prefix(b"INFO ") {
                    let info: serde_json::Value = serde_json::from_slice(json).unwrap();
                    self.nonce = info["nonce"].as_str().unwrap_or(&self.nonce).to_owned();
                }
            }
            // Events of the reference's own; scripts send nothing there.
            Frame::Message { subject, .. } if subject.starts_with(b"$SYS.") => return,
            Frame::Message { .. } => {}
        }
        self.frames.push(frame);
    }

    /// The words without what may differ.
    pub(super) fn normal(&self) -> Vec<String> {
        let mut lines = Vec::new();
        // One message to several subscriptions of a client: in any order.
        let mut copies: Vec<(Vec<u8>, &[u8], &[u8])> = Vec::new();
        let flush = |copies: &mut Vec<(Vec<u8>, &[u8], &[u8])>, lines: &mut Vec<String>| {
            copies.sort();
            for (sid, subject, tail) in copies.drain(..) {
                lines.push(format!(
                    "MSG {} {} {}",
                    subject.escape_ascii(),
                    sid.escape_ascii(),
                    tail.escape_ascii()
                ));
            }
        };
        for frame in &self.frames {
            match frame {
                Frame::Message { subject, sid, tail } => {
                    if copies
                        .last()
                        .is_some_and(|(_, one, other)| (*one, *other) != (&subject[..], &tail[..]))
                    {
                        flush(&mut copies, &mut lines);
                    }
                    // Members of one group are the same to the publisher, and so are the subscriptions of one client that
                    // could tell it that nobody responds.
                    let is_member = sid.len() == 2 && sid[0] == b'S';
                    let is_any =
                        is_member || tail.windows(NO_RESPONDERS.len()).any(|part| part == NO_RESPONDERS);
                    copies.push((if is_any { b"S".to_vec() } else { sid.clone() }, subject, tail));
                }
                Frame::Line(line) => {
                    flush(&mut copies, &mut lines);
                    let line = normal_line(line);
                    // The reference says this before it has seen the end of the message, and again if it has to read a
                    // second time for that.
                    if line.contains("Unknown Protocol")
                        && lines.last().is_some_and(|last| last.contains("Invalid Publish"))
                    {
                        lines.pop();
                    }
                    if !line.contains("Invalid Publish Subject") || lines.last() != Some(&line) {
                        lines.push(line);
                    }
                }
            }
        }
        flush(&mut copies, &mut lines);
        let rest = &self.bytes[self.read..];
        if !rest.is_empty() {
            lines.push(format!("incomplete {}", rest.escape_ascii()));
        }
        lines
    }
}

fn normal_line(line: &[u8]) -> String {
    let Some(json) = line.strip_prefix(b"INFO ") else { return line.escape_ascii().to_string() };
    assert!(line.ends_with(b" \r\n"), "INFO ends with a blank");
    let mut info: serde_json::Value = serde_json::from_slice(json).unwrap();
    let members = info.as_object_mut().unwrap();
    members.retain(|name, _| !OWN.contains(&&name[..]));
    if members.contains_key("nonce") {
        members.insert("nonce".into(), "given".into());
    }
    format!("INFO {info}")
}

/// The frame at the start and its length.
fn frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let line = &bytes[..end];
    if !line.starts_with(b"MSG ") && !line.starts_with(b"HMSG ") {
        return Some((Frame::Line(line.to_vec()), end));
    }
    let words: Vec<&[u8]> = line[..end - 2].split(|byte| *byte == b' ').collect();
    let size: usize = std::str::from_utf8(words.last()?).unwrap().parse().unwrap();
    let payload = bytes.get(end..end + size + 2)?;
    let tail = [words[0], b" ", &words[3..].join(&b' '), b"\r\n", payload].concat();
    let message = Frame::Message { subject: words[1].to_vec(), sid: words[2].to_vec(), tail };
    Some((message, end + size + 2))
}
