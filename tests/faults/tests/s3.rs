//! The lake in a real S3 server, reached through a proxy that cuts and holds connections; and foreign readers of what is sealed.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown as Half, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use nocturne_batcher::Batcher;
use nocturne_bus::{Group, LocalLog};
use nocturne_faults::{Oracle, encoded, interaction, log_settings, sealing};
use nocturne_kit::Shutdown;
use nocturne_lake::Lake;
use nocturne_support::{Python, S3, or_skip};
use nocturne_wire::Topic;

const LONG: Duration = Duration::from_mins(2);

/// What the proxy does to a connection's next answer.
const PASS: u8 = 0;
/// The request arrives and is carried out; its answer is lost.
const CUT_ANSWER: u8 = 1;
/// The request never arrives.
const CUT_REQUEST: u8 = 2;
/// Nothing happens for two seconds, then the connection is cut.
const HOLD: u8 = 3;

/// A proxy before a server.
struct Proxy {
    endpoint: String,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    fn before(endpoint: &str) -> Self {
        let server = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let mode = Arc::new(AtomicU8::new(PASS));
        let modes = mode.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, mode) = (server.clone(), modes.clone());
                thread::spawn(move || carry(client, &server, &mode));
            }
        });
        Self { endpoint: format!("http://{address}"), mode }
    }

    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }
}

fn carry(client: TcpStream, server: &str, mode: &Arc<AtomicU8>) {
    let Ok(upstream) = TcpStream::connect(server) else { return };
    let (Ok(from_client), Ok(to_server)) = (client.try_clone(), upstream.try_clone()) else { return };
    let asking = mode.clone();
    thread::spawn(move || pump(from_client, to_server, |_| asking.load(Ordering::SeqCst) == CUT_REQUEST));
    pump(upstream, client, |_| match mode.load(Ordering::SeqCst) {
        CUT_ANSWER => true,
        HOLD => {
            thread::sleep(Duration::from_secs(2));
            true
        }
        _ => false,
    });
}

/// Copies until either side ends, or until it is to be cut.
fn pump(mut from: TcpStream, mut to: TcpStream, cut: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || cut(&buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    from.shutdown(Half::Both).ok();
    to.shutdown(Half::Both).ok();
}

fn lake(server: &S3, endpoint: &str, folder: &str) -> Lake {
    let mut options: std::collections::BTreeMap<_, _> = server.options().into();
    options.insert("aws_endpoint_url".to_owned(), endpoint.to_owned());
    Lake::open_with(&server.url(folder), &options).expect("opens")
}

async fn publish(log: &LocalLog, oracle: &mut Oracle, range: std::ops::Range<u64>) {
    let publisher = log.publisher();
    for n in range {
        let record = interaction("s", n, 100);
        let (key, payload) = encoded(&record);
        oracle.issue(&record.id);
        publisher.publish_acked(Topic::Interactions, &key, payload.into()).expect("room").await.expect("kept");
        oracle.acknowledge(&record.id);
    }
}

fn open_log(dir: &Path) -> LocalLog {
    LocalLog::open(dir, &log_settings()).expect("opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_a_bucket_is_created_once_however_many_try() {
    let server = or_skip!(S3::start());
    let lake = lake(&server, &server.endpoint(), "once");
    let attempts = (0..24_u8).map(|writer| {
        let lake = lake.clone();
        tokio::spawn(async move { lake.create("race/one", vec![writer; 1000]).await.map(|()| writer) })
    });
    let mut winners = Vec::new();
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.expect("ran") {
            Ok(writer) => winners.push(writer),
            Err(error) => assert!(error.is_already_exists(), "{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(lake.get("race/one").await.expect("read"), vec![winners[0]; 1000]);
    for path in ["n/b/2", "n/b/10", "n/a", "nn/x"] {
        lake.create(path, "x").await.expect("created");
    }
    let listed: Vec<_> = lake.list("n").await.expect("listed").into_iter().map(|object| object.path).collect();
    assert_eq!(listed, ["n/a", "n/b/10", "n/b/2"]);
    assert_eq!(lake.list_dirs("n").await.expect("listed"), ["b"]);
    assert!(lake.get("n/none").await.is_err_and(|error| error.is_not_found()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_hangs_and_loses_its_answers_loses_and_doubles_nothing() {
    let server = or_skip!(S3::start());
    let proxy = Proxy::before(&server.endpoint());
    let (faulty, sound) = (lake(&server, &proxy.endpoint, "faults"), lake(&server, &server.endpoint(), "faults"));
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path());
    let mut oracle = Oracle::default();
    let batcher = Batcher::open(sealing(), Group::local(&log), &faulty, "test").await.expect("opens");
    let (handle, shutdown) = (batcher.handle(), Shutdown::new());
    let running = tokio::spawn(batcher.run(shutdown.clone()));
    for (round, mode) in [CUT_ANSWER, CUT_REQUEST, HOLD, CUT_ANSWER, PASS].into_iter().enumerate() {
        proxy.set(mode);
        let first = round as u64 * 200;
        publish(&log, &mut oracle, first..first + 200).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        if round == 2 {
            server.kill().expect("killed");
            tokio::time::sleep(Duration::from_millis(500)).await;
            server.start_again().expect("starts again");
        }
        proxy.set(PASS);
    }
    let flushed = async {
        while handle.flush().await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(LONG, flushed).await.expect("sealed in the end");
    shutdown.request();
    running.await.expect("no panic").expect("ends well");
    let verdict = oracle.check(&sound).await.expect("nothing wrong");
    assert_eq!((verdict.rows, verdict.dead), (1000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_and_pyarrow_read_what_is_sealed() {
    let python = or_skip!(Python::install());
    let dir = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&dir.path().join("lake").to_string_lossy()).expect("opens");
    let log = open_log(&dir.path().join("log"));
    let mut oracle = Oracle::default();
    publish(&log, &mut oracle, 0..500).await;
    let batcher = Batcher::open(sealing(), Group::local(&log), &lake, "test").await.expect("opens");
    let (handle, shutdown) = (batcher.handle(), Shutdown::new());
    let running = tokio::spawn(batcher.run(shutdown.clone()));
    handle.flush().await.expect("sealed");
    shutdown.request();
    running.await.expect("no panic").expect("ends well");
    let program = r#"
import glob, json, sys
import duckdb, pyarrow.dataset as dataset, pyarrow.parquet as parquet
root = sys.argv[1] + "/interactions/v1"
files = sorted(glob.glob(root + "/**/*.parquet", recursive=True))
duck = duckdb.sql(f"""select count(*), count(distinct id), count(distinct partition), sum(len(messages)), min(time) < max(time), any_value(finish)
    from read_parquet('{root}/**/*.parquet', hive_partitioning = true)""").fetchall()[0]
print(*duck)
one = duckdb.sql(f"select messages[1].content from read_parquet('{root}/**/*.parquet') where id = 's-1-77'").fetchall()[0][0]
print("door 77" in one)
table = dataset.dataset(root, partitioning="hive").to_table()
print(table.num_rows, len(set(table["id"].to_pylist())), sum(len(m) for m in table["messages"].to_pylist()))
footers = [json.loads(parquet.read_metadata(file).metadata[b"nocturne.batch"]) for file in files]
print(sum(f["rows"] for f in footers), all(parquet.read_metadata(f).row_group(0).column(0).has_column_index for f in files))
print(all(parquet.read_metadata(f).row_group(0).column(1).compression == "ZSTD" for f in files))
"#;
    let said = python.run(program, &[&dir.path().join("lake").to_string_lossy()]).expect("reads");
    assert_eq!(said.lines().collect::<Vec<_>>(), ["500 500 2 500 True stop", "True", "500 500 500", "500 True", "True"]);
}
