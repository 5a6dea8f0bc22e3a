//! Both sides of log streams over a bus in memory, in virtual time.

use super::*;
use crate::logs::LogStreams;
use crate::testing::MemoryBus;
use futures_util::stream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

const LONG: Duration = Duration::from_secs(3600);

type Given = mpsc::Sender<Result<Vec<LogLine>, Error>>;

/// Prints numbered lines; an execution named `fails` fails, one named `follows` goes on until told to end.
#[derive(Default)]
struct Printer {
    printed: Arc<AtomicUsize>,
    following: Mutex<Vec<Given>>,
}

impl Printer {
    fn following(&self) -> usize {
        let mut following = self.following.lock().unwrap();
        following.retain(|lines| !lines.is_closed());
        following.len()
    }
}

fn line(text: &str) -> LogLine {
    LogLine { stream: 2, time: 7, text: text.to_owned().into() }
}

impl LogSource for Printer {
    fn open(&self, request: LogRequest) -> BoxFuture<'_, Result<LogLines, Error>> {
        let lines = match request.execution_id.as_str() {
            "fails" => Err(Error::plain("no such execution")),
            "breaks" => Ok(stream::iter([Ok(vec![line("a")]), Err(Error::plain("disk"))]).boxed()),
            "long" => Ok(stream::iter([Ok(vec![line(&"é".repeat(100_000))])]).boxed()),
            "endless" => {
                let printed = Arc::clone(&self.printed);
                let line = move |()| {
                    printed.fetch_add(1, Ordering::Relaxed);
                    vec![line(&"x".repeat(10_000))]
                };
                Ok(stream::repeat(()).map(line).map(Ok).boxed())
            }
            "follows" => {
                let (sender, mut lines) = mpsc::channel(8);
                sender.try_send(Ok(vec![line("first")])).unwrap();
                self.following.lock().unwrap().push(sender);
                Ok(stream::poll_fn(move |cx| lines.poll_recv(cx)).boxed())
            }
            _ => Ok(stream::iter((0..3).map(|n| Ok(vec![line(&format!("{n}\n"))]))).boxed()),
        };
        Box::pin(std::future::ready(lines))
    }
}

struct World {
    streams: LogStreams,
    printer: Arc<Printer>,
    server: LogServer,
    bus: MemoryBus,
}

async fn world() -> World {
    let bus = MemoryBus::new();
    let printer = Arc::new(Printer::default());
    let node = Arc::new(bus.another());
    let server = LogServer::start(node, "n-1", Arc::clone(&printer) as Arc<dyn LogSource>).await.unwrap();
    let streams = LogStreams::start(Arc::new(bus.another())).await.unwrap();
    World { streams, printer, server, bus }
}

impl World {
    async fn open(&self, execution: &str) -> mpsc::Receiver<Result<Vec<LogLine>, Error>> {
        let request =
            LogRequest { execution_id: execution.to_owned(), follow: true, ..LogRequest::default() };
        self.streams.open("n-1", request).await.unwrap()
    }

    async fn read(&self, execution: &str) -> (String, Option<String>) {
        let mut lines = self.open(execution).await;
        let (mut text, mut error) = (String::new(), None);
        while let Some(item) = lines.recv().await {
            match item {
                Ok(lines) => lines.iter().for_each(|line| text.push_str(str::from_utf8(&line.text).unwrap())),
                Err(e) => error = Some(e.message),
            }
        }
        (text, error)
    }
}

#[tokio::test(start_paused = true)]
async fn output_arrives_whole_and_errors_in_words() {
    let world = world().await;
    assert_eq!(world.read("e-1").await, ("0\n1\n2\n".into(), None));
    assert_eq!(world.read("fails").await, (String::new(), Some("no such execution".into())));
    assert_eq!(world.read("breaks").await, ("a".into(), Some("disk".into())));
    assert_eq!(world.read("long").await, ("é".repeat(100_000), None));
}

#[tokio::test(start_paused = true)]
async fn streams_run_side_by_side_and_stay_open_while_wanted() {
    let world = world().await;
    let (mut first, mut second) = (world.open("follows").await, world.open("follows").await);
    for lines in [&mut first, &mut second] {
        assert_eq!(lines.recv().await.unwrap().unwrap()[0], line("first"));
    }
    tokio::time::sleep(LONG).await;
    assert_eq!((world.streams.open_streams(), world.printer.following()), (2, 2));
    drop(first);
    tokio::time::sleep(2 * KEEP_ALIVE).await;
    assert_eq!((world.streams.open_streams(), world.printer.following()), (1, 1));
    world.printer.following.lock().unwrap().clear();
    assert!(second.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_node_does_not_run_ahead_of_the_reader() {
    let world = world().await;
    let mut lines = world.open("endless").await;
    let printed = || world.printer.printed.load(Ordering::Relaxed);
    tokio::time::sleep(LONG).await;
    let ahead = printed();
    // Two marks' worth of frames and the few lines before the reader.
    assert!((50..200).contains(&ahead), "{ahead}");
    for _ in 0..1000 {
        assert!(lines.recv().await.unwrap().is_ok());
    }
    tokio::time::sleep(LONG).await;
    assert!((1000 + ahead / 2..1000 + ahead * 2).contains(&printed()), "{}", printed());
    drop(lines);
    tokio::time::sleep(2 * KEEP_ALIVE).await;
    assert_eq!(world.streams.open_streams(), 0);
    let (before, _) = (printed(), tokio::time::sleep(LONG).await);
    assert_eq!(printed(), before);
}

#[tokio::test(start_paused = true)]
async fn a_gone_orchestrator_ends_its_streams_on_the_node() {
    let world = world().await;
    let mut lines = world.open("follows").await;
    assert!(lines.recv().await.unwrap().is_ok());
    drop(world.streams);
    assert!(lines.recv().await.unwrap().unwrap_err().message.contains("ends its log streams"));
    tokio::time::sleep(4 * KEEP_ALIVE).await;
    assert_eq!(world.printer.following(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_says_so_and_one_that_is_gone_is_named_offline() {
    let world = world().await;
    let mut lines = world.open("follows").await;
    assert!(lines.recv().await.unwrap().is_ok());
    world.server.shutdown().await;
    let error = lines.recv().await.unwrap().unwrap_err();
    assert!(error.message.contains("the node shuts down (code 1001)"), "{}", error.message);
    let request = LogRequest { execution_id: "e-1".into(), ..LogRequest::default() };
    let error = world.streams.open("n-1", request.clone()).await.unwrap().recv().await.unwrap().unwrap_err();
    assert!(error.message.contains("is not connected"), "{}", error.message);
    assert!(world.streams.open("a.b", request).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn requests_that_make_no_sense_are_answered() {
    let world = world().await;
    let mut answers = world.bus.subscribe("inbox").await.unwrap();
    let subject = subjects::logs("n-1");
    world.bus.publish(&subject, Some("inbox"), &Headers::NONE, "x".into()).await.unwrap();
    let answer = answers.next().await.unwrap();
    let frame = frames::decode(&answer.payload).unwrap();
    assert!(matches!(frame, frames::Frame::Close { code: frames::BAD_REQUEST, .. }), "{frame:?}");
}
