//! The egress proxy between real sockets: who is let through, what a server sees, and the end.

use crate::support::in_time;
use bacalhau_compute::egress::{Counts, DomainList, Names, Proxy, Refusal, addresses, listen_inside};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn proxy(domains: &[&str]) -> Proxy {
    let domains: Vec<String> = domains.iter().map(|d| (*d).to_owned()).collect();
    let names = Names { job_id: "j-42".into(), execution_id: "e-42".into() };
    Proxy::start(LOCALHOST, DomainList::new(&domains).unwrap(), names).await.unwrap()
}

/// Answers each connection with what it was sent, up to the end of the headers, and then everything else it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(echo_one(stream));
        }
    });
    address
}

async fn echo_one(mut stream: TcpStream) {
    let head = read_head(&mut stream).await;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-From: server\r\n\r\n{head}", head.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.split();
    let _ = tokio::io::copy(&mut read, &mut write).await;
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Sends something and reads until the other side closes.
async fn ask(proxy: &Proxy, text: &str) -> String {
    in_time(async {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A refusal may cut off what it did not read.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
}

async fn get(proxy: &Proxy, url: &str) -> String {
    ask(proxy, &format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn a_server_sees_a_plain_request_of_the_job() {
    let (server, proxy) = (echo().await, proxy(&["127.0.0.1"]).await);
    let request = format!(
        "GET http://{server}/a?b=c HTTP/1.1\r\nHost: evil.example\r\nProxy-Connection: keep-alive\r\nX-Bacalhau-Job-ID: forged\r\nAccept: */*\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\n"
    );
    let answer = ask(&proxy, &request).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 200 ok"), "{answer}");
    for part in [
        "get /a?b=c http/1.1\r\n",
        &format!("host: {server}\r\n"),
        "x-bacalhau-job-id: j-42\r\n",
        "accept: */*\r\n",
        "x-from: server",
    ] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
    for part in ["evil", "forged", "x-hop", "proxy-connection"] {
        assert!(!answer.contains(part), "{part} in {answer}");
    }
    assert_eq!(proxy.counts(), Counts { allowed: 1, denied: 0 });
}

#[tokio::test]
async fn what_is_not_listed_is_refused_in_words() {
    let (server, proxy) = (echo().await, proxy(&[".example.com"]).await);
    let answer = get(&proxy, &format!("http://{server}/")).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("access to \"127.0.0.1\" is not allowed: the job does not list it"), "{answer}");
    assert!(answer.contains("Network.Domains"), "{answer}");
    let tunnel = ask(&proxy, &format!("CONNECT {server} HTTP/1.1\r\nConnection: close\r\n\r\n")).await;
    assert!(tunnel.starts_with("HTTP/1.1 403"), "{tunnel}");
    assert_eq!(proxy.counts(), Counts { allowed: 0, denied: 2 });
}

#[tokio::test]
async fn a_name_does_not_lead_back_into_the_node() {
    let server = echo().await;
    let url = format!("http://localhost:{}/", server.port());
    let by_name = proxy(&["localhost"]).await;
    let answer = get(&by_name, &url).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("a loopback address"), "{answer}");
    let by_address = proxy(&["localhost", "127.0.0.1"]).await;
    assert!(get(&by_address, &url).await.starts_with("HTTP/1.1 200"));
    let list = |domains: &[&str]| {
        DomainList::new(&domains.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>()).unwrap()
    };
    assert!(matches!(addresses(&list(&["localhost"]), "localhost").await, Err(Refusal::Forbidden { .. })));
    assert!(matches!(addresses(&list(&[".example.com"]), "localhost").await, Err(Refusal::NotListed(_))));
    let found = addresses(&list(&["localhost", "127.0.0.1"]), "localhost").await.unwrap();
    assert_eq!(found, [SocketAddr::new(LOCALHOST, 0)]);
    // Another spelling of the address is no way around the list.
    let answer = get(&by_name, &format!("http://2130706433:{}/", server.port())).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test]
async fn requests_that_are_none_are_told_why() {
    let proxy = proxy(&["127.0.0.1"]).await;
    for (request, status, text) in [
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1", 400, "this is a proxy"),
        ("GET https://127.0.0.1/ HTTP/1.1\r\nHost: x", 400, "tunnels the rest with CONNECT"),
        ("GET http://user:secret@127.0.0.1/ HTTP/1.1\r\nHost: x", 400, "credentials"),
        ("CONNECT 127.0.0.1 HTTP/1.1\r\nHost: x", 400, "has no port"),
        ("CONNECT 127.0.0.1:0 HTTP/1.1\r\nHost: x", 400, "port 0"),
        ("GET http://127.0.0.1:99999/ HTTP/1.1\r\nHost: x", 400, ""),
        ("GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: x", 502, "cannot connect"),
    ] {
        let answer = ask(&proxy, &format!("{request}\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert!(answer.contains(text) && !answer.contains("secret"), "{request}: {answer}");
    }
    let large = format!("GET http://127.0.0.1/ HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(80_000));
    assert!(ask(&proxy, &large).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET http://127.0.0.1/ HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(200));
    assert!(ask(&proxy, &many).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn no_request_hides_in_another() {
    let (server, proxy) = (echo().await, proxy(&["127.0.0.1"]).await);
    // Two lengths: one reading of the body ends before the second request, the other after it.
    let request = format!(
        "POST http://{server}/first HTTP/1.1\r\nHost: x\r\nContent-Length: 48\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET http://{server}/hidden HTTP/1.1\r\nHost: x\r\n\r\n"
    );
    let answer = ask(&proxy, &request).await.to_lowercase();
    assert!(!answer.contains("/hidden"), "{answer}");
    assert!(!answer.contains("content-length: 48"), "{answer}");
}

#[tokio::test]
async fn a_connection_can_ask_several_servers() {
    let (first, second, proxy) = (echo().await, echo().await, proxy(&["127.0.0.1"]).await);
    let both = format!(
        "GET http://{first}/1 HTTP/1.1\r\nHost: x\r\n\r\nGET http://{second}/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    );
    let answer = ask(&proxy, &both).await;
    assert!(answer.contains(&first.to_string()) && answer.contains(&second.to_string()), "{answer}");
    assert_eq!(proxy.counts().allowed, 2);
}

#[tokio::test]
async fn tunnels_carry_bytes_both_ways() {
    let (server, proxy) = (echo().await, proxy(&["127.0.0.1"]).await);
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    // What follows the request at once belongs to the tunnel.
    let opening = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\nhello server\r\n\r\n");
    stream.write_all(opening.as_bytes()).await.unwrap();
    assert!(in_time(read_head(&mut stream)).await.starts_with("HTTP/1.1 200"));
    assert!(in_time(read_head(&mut stream)).await.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 16"));
    let mut greeting = [0; 16];
    in_time(stream.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"hello server\r\n\r\n");

    let sent: Vec<u8> = (0..8_000_000u32).map(|n| (n % 251) as u8).collect();
    let (mut read, mut write) = stream.into_split();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    in_time(read.read_to_end(&mut received)).await.unwrap();
    writing.await.unwrap();
    assert!(received == expected);
}

#[tokio::test]
async fn bodies_stream_through() {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let server = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        let mut body = vec![0; 4_000_000];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n").await.unwrap();
        stream.write_all(&body).await.unwrap();
        head
    });
    let proxy = proxy(&["127.0.0.1"]).await;
    let body = "abcd".repeat(1_000_000);
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let request = format!(
        "PUT http://{server}/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4000000\r\nConnection: close\r\n\r\n{body}"
    );
    // The half comes back: to drop it would say that the task goes away.
    let writing = tokio::spawn(async move { write.write_all(request.as_bytes()).await.map(|()| write) });
    let mut answer = String::new();
    in_time(read.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with(&body));
    drop(writing.await.unwrap().unwrap());
    let head = served.await.unwrap().to_lowercase();
    assert!(head.contains("content-length: 4000000") && !head.contains("expect"), "{head}");
}

#[tokio::test]
async fn many_at_once_and_nothing_after_its_end() {
    let (server, proxy) = (echo().await, proxy(&["127.0.0.1"]).await);
    let mut open = TcpStream::connect(proxy.address()).await.unwrap();
    open.write_all(format!("CONNECT {server} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    assert!(in_time(read_head(&mut open)).await.starts_with("HTTP/1.1 200"));
    let proxy = std::sync::Arc::new(proxy);
    let mut requests = JoinSet::new();
    for _ in 0..300 {
        let proxy = std::sync::Arc::clone(&proxy);
        requests.spawn(async move { get(&proxy, &format!("http://{server}/")).await });
    }
    for answer in requests.join_all().await {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(proxy.counts().allowed, 301);
    let address = proxy.address();
    drop(proxy);
    // The tunnel is cut, and the port is closed once its task has seen the end.
    let mut rest = Vec::new();
    let _ = in_time(open.read_to_end(&mut rest)).await;
    in_time(async {
        while TcpListener::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A server that answers one connection with this and tells what it was asked once the other side is gone.
async fn says(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
        head
    });
    (address, serving)
}

#[tokio::test]
async fn answers_have_one_length() {
    let proxy = proxy(&["127.0.0.1"]).await;
    // A server that tells two lengths does not confuse the task.
    let two =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (server, _) = says(two).await;
    let answer = get(&proxy, &format!("http://{server}/")).await.to_lowercase();
    assert!(answer.contains("hello") && !answer.contains("content-length: 3"), "{answer}");
    // An answer without a body tells the length of the one it stands for.
    let (server, _) = says("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n").await;
    let head = format!("HEAD http://{server}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = ask(&proxy, &head).await.to_lowercase();
    assert!(answer.contains("content-length: 12345"), "{answer}");
    // A server that speaks something else is a bad gateway, not a broken proxy.
    let (server, _) = says("SSH-2.0-OpenSSH_9.6\r\n").await;
    let answer = get(&proxy, &format!("http://{server}/")).await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("the server broke off"), "{answer}");
}

#[tokio::test]
async fn a_task_that_goes_away_frees_its_server() {
    let proxy = proxy(&["127.0.0.1"]).await;
    let (server, serving) = says("").await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream
        .write_all(format!("GET http://{server}/slow HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .await
        .unwrap();
    in_time(async {
        while proxy.counts().allowed == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(stream);
    assert!(in_time(serving).await.unwrap().starts_with("GET /slow"));
}

#[tokio::test]
async fn a_socket_can_be_inside_another_network() {
    if !crate::exec::is_root("entering a network namespace") {
        return;
    }
    let mut other = tokio::process::Command::new("unshare")
        .args(["--net", "sh", "-c", "echo; exec sleep 3600"])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    in_time(other.stdout.as_mut().unwrap().read_u8()).await.unwrap();
    let namespace = format!("/proc/{}/ns/net", other.id().unwrap());
    // Its loopback is down, so there is no narrower address to listen on.
    let listener = listen_inside(namespace.as_ref(), (Ipv4Addr::UNSPECIFIED, 0).into()).await.unwrap();
    let proxy = Proxy::serve(listener, DomainList::default(), Names::default()).unwrap();
    let port = proxy.address().port();
    let there = std::fs::read_to_string(format!("/proc/{}/net/tcp", other.id().unwrap())).unwrap();
    assert!(there.contains(&format!("00000000:{port:04X}")), "{there}");
    let here = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    assert!(!here.contains(&format!("00000000:{port:04X}")), "{here}");
    // This process stayed where it was.
    TcpStream::connect(echo().await).await.unwrap();
    other.kill().await.unwrap();
}
