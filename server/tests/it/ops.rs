//! The process: start, stop, crash, command line, what a data directory survives.

use std::time::{Duration, Instant};

use crate::client::{Client, framed, report_fields};
use crate::files::TempDir;
use crate::support::{Server, address, command, free_port, refused, signal};

fn run(client: &mut Client, sql: &str) -> Vec<String> {
    client.column(sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

#[test]
fn sigterm_stops_with_0_and_keeps_everything() {
    let dir = TempDir::new();
    let server = Server::start(dir.path());
    let mut client = server.client();
    run(&mut client, "CREATE TABLE t (id int PRIMARY KEY, v text)");
    run(&mut client, "INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 1000) g");
    run(&mut client, "CREATE VIEW v AS SELECT count(*) AS n FROM t");
    run(
        &mut client,
        "CREATE SCHEMA app; CREATE TABLE app.other (a int DEFAULT 7); INSERT INTO app.other DEFAULT VALUES",
    );
    assert_eq!(server.terminate().code(), Some(0));

    let server = Server::start(dir.path());
    let mut client = server.client();
    assert_eq!(run(&mut client, "SELECT n FROM v"), ["1000"]);
    assert_eq!(run(&mut client, "SELECT v FROM t WHERE id = 777"), ["row 777"]);
    assert_eq!(run(&mut client, "INSERT INTO app.other DEFAULT VALUES; SELECT sum(a) FROM app.other"), ["14"]);
    assert_eq!(
        client.column("INSERT INTO t VALUES (1, 'x')"),
        Err("23505: duplicate key value violates unique constraint \"t_pkey\"".to_string())
    );
}

#[test]
fn sigint_stops_with_0() {
    let dir = TempDir::new();
    let mut server = Server::start(dir.path());
    signal(server.pid(), "INT");
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.is_running() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!server.is_running(), "SIGINT has not stopped the server");
}

#[test]
fn sigterm_tells_sessions_and_cancels_what_runs_too_long() {
    let dir = TempDir::new();
    std::fs::write(dir.path().join("quick.toml"), "[server]\nshutdown_timeout = \"200ms\"\n").expect("a config file");
    let server = Server::start_with(dir.path(), &["--config", "quick.toml"]);
    let mut sleeper = server.client();
    sleeper.send_raw(&framed(b'Q', b"SELECT pg_sleep(60)\0")).expect("to send");
    assert_eq!(server.terminate().code(), Some(0));
    let messages = sleeper.until_ready().expect("an answer before the end");
    let error = messages.iter().find(|m| m.tag == b'E').expect("an error");
    let code = report_fields(&error.body).into_iter().find(|f| f.0 == 'C').map(|f| f.1);
    assert_eq!(code.as_deref(), Some("57P01"));
}

#[test]
fn kill_9_loses_nothing_acknowledged() {
    let dir = TempDir::new();
    let mut acknowledged = 0;
    for round in 0..3 {
        let server = Server::start(dir.path());
        let mut client = server.client();
        run(&mut client, "CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY)");
        let kept = run(&mut client, "SELECT count(*) FROM t");
        assert_eq!(kept, [acknowledged.to_string()], "round {round}");
        for _ in 0..50 {
            run(&mut client, &format!("INSERT INTO t VALUES ({acknowledged})"));
            acknowledged += 1;
        }
        // Not committed: it must not be there afterwards.
        run(&mut client, "BEGIN; INSERT INTO t VALUES (-1)");
        server.kill();
    }
    let server = Server::start(dir.path());
    assert_eq!(run(&mut server.client(), "SELECT count(*) FROM t WHERE id >= 0"), [acknowledged.to_string()]);
    assert_eq!(run(&mut server.client(), "SELECT count(*) FROM t WHERE id < 0"), ["0"]);
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let dir = TempDir::new();
    let server = Server::start(dir.path());
    run(&mut server.client(), "CREATE TABLE t (a int)");
    let (code, text) = refused(command(dir.path(), free_port(), &[]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("is in use by another kalamdb-server"), "{text}");
    assert_eq!(run(&mut server.client(), "SELECT count(*) FROM t"), ["0"]);
}

#[test]
fn a_port_in_use_is_refused_and_touches_nothing() {
    let dir = TempDir::new();
    let server = Server::start(dir.path());
    let other = TempDir::new();
    let (code, text) = refused(command(other.path(), server.addr.port(), &[]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&server.addr.to_string()), "{text}");
    assert!(!other.path().join("data").exists(), "the data directory was made");
    run(&mut server.client(), "SELECT 1");
}

#[test]
fn bad_configuration_is_one_line_and_exit_2() {
    let dir = TempDir::new();
    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("a config file");
    file("unknown.toml", "[server]\nnosuch = 1\n");
    file("value.toml", "[server]\nmax_connections = \"many\"\n");
    file("syntax.toml", "[server\n");
    let cases: [(&[&str], &[&str]); 7] = [
        (&["--config", "unknown.toml"], &["server.nosuch", "unknown.toml"]),
        (&["--config", "value.toml"], &["server.max_connections", "value.toml"]),
        (&["--config", "syntax.toml"], &["syntax.toml"]),
        (&["--config", "missing.toml"], &["missing.toml"]),
        (&["--log-format", "xml"], &["log.format", "xml"]),
        (&["--nosuch"], &["--nosuch"]),
        (&["stray"], &["stray"]),
    ];
    for (flags, wanted) in cases {
        let (code, text) = refused(command(dir.path(), free_port(), flags));
        assert_eq!(code, Some(2), "{flags:?}: {text}");
        for part in wanted {
            assert!(text.contains(part), "{flags:?}: {part} is missing in: {text}");
        }
        assert!(!dir.path().join("data").exists(), "{flags:?}: the data directory was made");
    }
    // From the environment, and an address that is not loopback while there are no passwords.
    let mut from_environment = command(dir.path(), free_port(), &[]);
    from_environment.env("KALAMDB_LOG_FORMAT", "xml");
    let (code, text) = refused(from_environment);
    assert_eq!((code, text.contains("KALAMDB_LOG_FORMAT")), (Some(2), true), "{text}");
    let (code, text) = refused(command(dir.path(), free_port(), &["--listen", "0.0.0.0:0"]));
    assert_eq!((code, text.contains("0.0.0.0")), (Some(2), true), "{text}");
}

#[test]
fn check_config_and_version_end_with_0() {
    let dir = TempDir::new();
    for flag in ["--check-config", "--version", "--help"] {
        let (code, text) = refused(command(dir.path(), free_port(), &[flag]));
        assert_eq!(code, Some(0), "{flag}: {text}");
    }
    assert!(!dir.path().join("data").exists(), "the data directory was made");
}

#[test]
fn a_directory_that_is_not_ours_is_left_alone() {
    let dir = TempDir::new();
    std::fs::create_dir(dir.path().join("data")).expect("a directory");
    std::fs::write(dir.path().join("data/letter.txt"), "dear").expect("a file");
    let (code, text) = refused(command(dir.path(), free_port(), &[]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("is not a KalamDB data directory"), "{text}");
    assert_eq!(std::fs::read_dir(dir.path().join("data")).expect("the directory").count(), 1);
}

#[test]
fn a_thousand_tables_are_there_again_soon() {
    const TABLES: usize = 1000;
    // The bound of a release build is 1 s (make bench looks at that); this one only catches what grows with the square.
    const START_S_MAX: u64 = 15;
    let dir = TempDir::new();
    let server = Server::start(dir.path());
    let mut client = server.client();
    for hundred in 0..TABLES / 100 {
        let text: String = (0..100)
            .map(|n| {
                format!("CREATE TABLE t{} (id int PRIMARY KEY, name text NOT NULL, at timestamptz);", hundred * 100 + n)
            })
            .collect();
        run(&mut client, &text);
    }
    assert_eq!(server.terminate().code(), Some(0));
    let start = Instant::now();
    let server = Server::start(dir.path());
    let took = start.elapsed();
    assert!(took < Duration::from_secs(START_S_MAX), "the start took {took:?}");
    let mut client = server.client();
    assert_eq!(run(&mut client, "SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]+$'"), [TABLES.to_string()]);
    run(&mut client, "INSERT INTO t999 VALUES (1, 'x', now())");
}

#[test]
fn sessions_are_independent_and_backend_pids_unique() {
    let dir = TempDir::new();
    let server = Server::start(dir.path());
    let mut clients: Vec<Client> = (0..50).map(|_| server.client()).collect();
    let mut pids: Vec<i32> = clients.iter().map(|c| c.pid).collect();
    assert!(pids.iter().all(|p| *p > 0), "{pids:?}");
    for client in &mut clients {
        let pid = client.pid.to_string();
        assert_eq!(run(client, "SELECT pg_backend_pid()"), [pid]);
    }
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 50);
}

#[test]
fn a_large_result_streams_and_a_slow_reader_holds_up_nobody() {
    const ROWS: usize = 100_000;
    // The result is 200 MB; what a batch and the buffers take is far below this.
    const GROWTH_KB_MAX: u64 = 120 * 1024;
    let dir = TempDir::new();
    let server = Server::start(dir.path());
    let mut slow = server.client();
    run(&mut slow, "SELECT repeat('x', 2000) || g FROM generate_series(1, 10) g");
    let before = memory_peak_kb(server.pid());
    let query = format!("SELECT repeat('x', 2000) || g FROM generate_series(1, {ROWS}) g\0");
    slow.send_raw(&framed(b'Q', query.as_bytes())).expect("to send");
    // Nothing is read yet.
    let mut other = server.client();
    for n in 0..100 {
        assert_eq!(run(&mut other, &format!("SELECT {n}")), [n.to_string()]);
    }
    let mut rows = 0;
    loop {
        let message = slow.next().expect("the next row");
        match message.tag {
            b'D' => {
                rows += 1;
                assert!(message.body.ends_with(format!("x{rows}").as_bytes()), "row {rows}");
            }
            b'Z' => break,
            _ => {}
        }
    }
    assert_eq!(rows, ROWS);
    let growth = memory_peak_kb(server.pid()) - before;
    assert!(growth < GROWTH_KB_MAX, "the server's memory grew by {growth} kB");
}

/// The most memory that the process has held.
fn memory_peak_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process's status");
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).expect("its peak of memory");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of kB")
}

#[test]
fn explain_answers_as_text_and_json() {
    let dir = TempDir::new();
    let server = Server::start(dir.path());
    let mut client = server.client();
    run(&mut client, "CREATE TABLE t (id int PRIMARY KEY, v text)");
    for options in ["", "ANALYZE", "(COSTS OFF)", "(ANALYZE, TIMING OFF)", "VERBOSE"] {
        let plan = run(&mut client, &format!("EXPLAIN {options} SELECT v FROM t WHERE id = 1"));
        assert!(!plan.is_empty() && plan.iter().all(|line| !line.contains('\n')), "{options}: {plan:?}");
    }
    let json = run(&mut client, "EXPLAIN (FORMAT JSON) SELECT v FROM t WHERE id = 1");
    assert!(json.len() == 1 && json[0].trim_start().starts_with('['), "{json:?}");
    run(&mut client, "EXPLAIN ANALYZE INSERT INTO t VALUES (1, 'ran')");
    run(&mut client, "EXPLAIN INSERT INTO t VALUES (2, 'has not')");
    assert_eq!(run(&mut client, "SELECT v FROM t"), ["ran"]);
}

#[test]
fn two_writers_on_one_row_lose_nothing() {
    const WRITERS: usize = 4;
    const INCREMENTS: usize = 25;
    let dir = TempDir::new();
    let server = Server::start(dir.path());
    run(&mut server.client(), "CREATE TABLE c (id int PRIMARY KEY, n int); INSERT INTO c VALUES (1, 0)");
    let addr = server.addr;
    let writer = move || {
        let mut client = Client::connect(addr, "postgres").expect("a session");
        let mut done = 0;
        while done < INCREMENTS {
            match client.column("UPDATE c SET n = n + 1 WHERE id = 1") {
                Ok(_) => done += 1,
                Err(e) => assert!(e.starts_with("40001: "), "{e}"),
            }
        }
    };
    let threads: Vec<_> = (0..WRITERS).map(|_| std::thread::spawn(writer)).collect();
    threads.into_iter().for_each(|t| t.join().expect("a writer"));
    assert_eq!(run(&mut server.client(), "SELECT n FROM c"), [(WRITERS * INCREMENTS).to_string()]);
}

#[test]
fn a_client_that_goes_away_stops_its_query() {
    let dir = TempDir::new();
    let server = Server::start(dir.path());
    let mut client = server.client();
    run(&mut client, "CREATE TABLE t (a int)");
    let mut gone = Client::connect(address(server.addr.port()), "postgres").expect("a session");
    gone.send_raw(&framed(b'Q', b"INSERT INTO t SELECT 1 WHERE pg_sleep(2) IS NOT NULL\0")).expect("to send");
    drop(gone);
    let deadline = Instant::now() + Duration::from_secs(4);
    while Instant::now() < deadline {
        assert_eq!(run(&mut client, "SELECT count(*) FROM t"), ["0"]);
        std::thread::sleep(Duration::from_millis(200));
    }
}
