//! Messages over TLS. The clients' own encryption shares the processors with the server's.

use super::Outcome;
use super::support::servers::{Process, Program};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Silence after which a run counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes written or read by a client at a time.
const CHUNK: usize = 64 * 1024;

/// A server that wants TLS, and what its clients need to know.
pub struct Encrypted {
    server: Process,
    client: Arc<ClientConfig>,
    _files: tempfile::TempDir,
}

type Connection = StreamOwned<ClientConnection, TcpStream>;

impl Encrypted {
    pub fn start(program: &Program) -> Outcome<Encrypted> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let files = tempfile::tempdir()?;
        let write = |name: &str, text: String| -> Outcome<String> {
            let path = files.path().join(name);
            std::fs::write(&path, text)?;
            Ok(path.to_str().ok_or("a temporary folder with an odd name")?.to_owned())
        };
        let certificate = write("server.pem", made.cert.pem())?;
        let key = write("server.key", made.signing_key.serialize_pem())?;
        let server = Process::start_with(program, &["--tls", "--tlscert", &certificate, "--tlskey", &key])?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Encrypted { server, client: Arc::new(client), _files: files })
    }

    /// A client that the server has answered after `hello`.
    fn connect(&self, hello: &str) -> Outcome<Connection> {
        let mut socket = TcpStream::connect(self.server.address())?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        // INFO comes in the clear and ends with its line; what follows is encrypted.
        let mut byte = [0];
        while byte != *b"\n" {
            socket.read_exact(&mut byte)?;
        }
        let session = ClientConnection::new(self.client.clone(), ServerName::try_from("localhost")?)?;
        let mut connection = StreamOwned::new(session, socket);
        connection.write_all(format!("CONNECT {{\"verbose\":false}}\r\n{hello}PING\r\n").as_bytes())?;
        let mut seen = Vec::new();
        while !seen.ends_with(b"PONG\r\n") {
            connection.read_exact(&mut byte)?;
            seen.extend(byte);
        }
        Ok(connection)
    }
}

/// Messages per second from one publisher to one subscriber.
pub fn run(server: &Encrypted, messages: usize, size: usize) -> Outcome<f64> {
    let frame = format!("PUB bench {size}\r\n{}\r\n", "x".repeat(size));
    let per_chunk = (CHUNK / frame.len()).max(1);
    let chunk = frame.repeat(per_chunk);
    let chunks = messages / per_chunk;
    let delivered = chunks * per_chunk * (format!("MSG bench 1 {size}\r\n").len() + size + 2);
    let mut subscriber = server.connect("SUB bench 1\r\n")?;
    let mut publisher = server.connect("")?;
    let started = Instant::now();
    let receiving = thread::spawn(move || -> Outcome<()> {
        let (mut left, mut buffer) = (delivered, vec![0; CHUNK]);
        while left > 0 {
            match subscriber.read(&mut buffer)? {
                0 => return Err("the server closed the connection".into()),
                count => left = left.saturating_sub(count),
            }
        }
        Ok(())
    });
    for _ in 0..chunks {
        publisher.write_all(chunk.as_bytes())?;
    }
    publisher.flush()?;
    receiving.join().map_err(|_| "the subscriber panicked")??;
    Ok((chunks * per_chunk) as f64 / started.elapsed().as_secs_f64())
}
