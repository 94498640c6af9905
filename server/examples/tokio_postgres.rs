//! tokio-postgres used as an application would: one of the programs of `make drivers`, see testdata/drivers/README.md.
//!
//! The driver speaks binary only; its text side is the simple protocol. Prints one line a check and ends with an
//! error at the first that fails.

#![allow(clippy::print_stdout, reason = "its output is its report")]

use std::error::Error;
use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{AsyncMessage, Client, NoTls, Notification, SimpleQueryMessage};

/// How long anything that has to come may take.
const WAIT_MAX: Duration = Duration::from_secs(30);

type Outcome = Result<(), Box<dyn Error>>;

fn equal<T: PartialEq + Debug>(name: &str, found: T, expected: T) -> Outcome {
    if found != expected {
        return Err(format!("not ok - {name}: expected {expected:?}, found {found:?}").into());
    }
    println!("ok - {name}");
    Ok(())
}

/// The bytes of a value in binary format, for types that the driver has no Rust type for.
#[derive(PartialEq, Debug, Clone)]
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Raw(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Raw {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut tokio_postgres::types::private::BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

async fn both_ways<T>(client: &Client, ty: &str, value: T) -> Outcome
where
    T: ToSql + for<'a> FromSql<'a> + PartialEq + Debug + Sync,
{
    let sql = format!("SELECT $1::{ty}, NULL::{ty}");
    let row = client.query_one(&sql, &[&value]).await?;
    equal(ty, row.try_get::<_, T>(0)?, value)?;
    equal(&format!("{ty} null"), row.try_get::<_, Option<T>>(1)?, None)
}

async fn types(client: &Client) -> Outcome {
    both_ways(client, "boolean", true).await?;
    both_ways(client, "smallint", i16::MIN).await?;
    both_ways(client, "integer", i32::MAX).await?;
    both_ways(client, "bigint", i64::MIN).await?;
    both_ways(client, "oid", u32::MAX).await?;
    both_ways(client, "real", 1.5_f32).await?;
    both_ways(client, "double precision", f64::NEG_INFINITY).await?;
    both_ways(client, "text", "naïve 'quoted' 🐘".to_owned()).await?;
    both_ways(client, "varchar(5)", "abc".to_owned()).await?;
    both_ways(client, "char(4)", "ab  ".to_owned()).await?;
    both_ways(client, "name", "name".to_owned()).await?;
    both_ways(client, "bytea", (0..=255).collect::<Vec<u8>>()).await?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_709_164_800_123_456);
    both_ways(client, "timestamp", time).await?;
    both_ways(client, "timestamptz", time).await?;
    both_ways(client, "integer[]", vec![Some(1), None, Some(3)]).await?;
    both_ways(client, "text[]", vec!["a b".to_owned(), String::new()]).await?;
    both_ways(client, "bigint[]", Vec::<i64>::new()).await?;
    for (ty, text, bytes) in raw_values() {
        both_ways(client, ty, Raw(bytes.clone())).await?;
        let row = client.query_one(&format!("SELECT $1::text::{ty}"), &[&text]).await?;
        equal(&format!("{ty} from text"), row.try_get::<_, Raw>(0)?, Raw(bytes.clone()))?;
        let row = client.query_one(&format!("SELECT $1::{ty}::text"), &[&Raw(bytes)]).await?;
        equal(&format!("{ty} to text"), row.try_get::<_, &str>(0)?, text)?;
    }
    Ok(())
}

/// Type, text form, binary form.
fn raw_values() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    vec![
        ("numeric", "12345.6780", vec![0, 3, 0, 1, 0, 0, 0, 4, 0, 1, 0x09, 0x29, 0x1a, 0x7c]),
        ("numeric", "NaN", vec![0, 0, 0, 0, 0xc0, 0, 0, 0]),
        ("date", "2000-01-02", vec![0, 0, 0, 1]),
        ("time", "00:00:01", vec![0, 0, 0, 0, 0, 0x0f, 0x42, 0x40]),
        ("interval", "1 mon 2 days 00:00:01", vec![0, 0, 0, 0, 0, 0x0f, 0x42, 0x40, 0, 0, 0, 2, 0, 0, 0, 1]),
        ("uuid", "00000000-0000-0000-0000-0000000000ff", [vec![0; 15], vec![255]].concat()),
        ("json", "{\"a\": 1}", b"{\"a\": 1}".to_vec()),
        ("jsonb", "{\"a\": 1}", b"\x01{\"a\": 1}".to_vec()),
    ]
}

async fn statements(client: &mut Client) -> Outcome {
    client
        .batch_execute("DROP TABLE IF EXISTS drv_tokio; CREATE TABLE drv_tokio (id integer PRIMARY KEY, note text)")
        .await?;
    let insert = client.prepare("INSERT INTO drv_tokio VALUES ($1, $2)").await?;
    equal("parameter types", insert.params(), &[Type::INT4, Type::TEXT])?;
    for id in 0..50 {
        equal("insert", client.execute(&insert, &[&id, &format!("note {id}")]).await?, 1)?;
    }
    let select = client.prepare("SELECT note, id FROM drv_tokio WHERE id = ANY($1) ORDER BY id").await?;
    equal("column types", select.columns().iter().map(|c| c.type_().clone()).collect(), vec![Type::TEXT, Type::INT4])?;
    let rows = client.query(&select, &[&vec![3, 1, 99]]).await?;
    equal("select", rows.iter().map(|row| row.get::<_, i32>("id")).collect(), vec![1, 3])?;
    let pipelined = tokio::try_join!(
        client.query_one("SELECT 1", &[]),
        client.query_one("SELECT 2", &[]),
        client.query_one("SELECT 3", &[])
    )?;
    equal("pipeline", (pipelined.0.get(0), pipelined.1.get(0), pipelined.2.get(0)), (1, 2, 3))?;
    let transaction = client.transaction().await?;
    let portal = transaction.bind("SELECT id FROM drv_tokio ORDER BY id", &[]).await?;
    let mut sizes = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 20).await?;
        sizes.push(rows.len());
        if rows.len() < 20 {
            break;
        }
    }
    equal("portal in pieces", sizes, vec![20, 20, 10])?;
    transaction.commit().await?;
    let messages = client.simple_query("SELECT 1 AS a; UPDATE drv_tokio SET note = NULL WHERE id < 5").await?;
    let counts = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::CommandComplete(count) => Some(*count),
        _ => None,
    });
    equal("several statements", counts.collect(), vec![1, 5])
}

async fn copy(client: &Client) -> Outcome {
    let sink = client.copy_in("COPY drv_tokio FROM STDIN (FORMAT binary)").await?;
    let mut writer = Box::pin(BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT]));
    for id in 1000..2000 {
        let note = (id % 2 == 0).then(|| format!("copied {id}"));
        writer.as_mut().write(&[&id, &note]).await?;
    }
    equal("copy in binary", writer.as_mut().finish().await?, 1000)?;
    let row = client.query_one("SELECT count(*), count(note) FROM drv_tokio WHERE id >= 1000", &[]).await?;
    equal("copied rows", (row.get::<_, i64>(0), row.get::<_, i64>(1)), (1000, 500))
}

async fn transactions(client: &mut Client) -> Outcome {
    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO drv_tokio VALUES (3000)", &[]).await?;
    transaction.rollback().await?;
    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO drv_tokio VALUES (3001)", &[]).await?;
    transaction.commit().await?;
    let row = client.query_one("SELECT sum(id) FROM drv_tokio WHERE id >= 3000", &[]).await?;
    equal("commit and rollback", row.get::<_, i64>(0), 3001)?;

    let error = client.execute("INSERT INTO drv_tokio VALUES ($1)", &[&3001]).await.err().ok_or("no error")?;
    let error = error.as_db_error().ok_or("not the server's error")?;
    equal("duplicate key", error.code(), &SqlState::UNIQUE_VIOLATION)?;
    equal("constraint", error.constraint(), Some("drv_tokio_pkey"))?;
    let error = client.prepare("SELECT nothing FROM drv_tokio").await.err().ok_or("no error")?;
    equal("missing column", error.code(), Some(&SqlState::UNDEFINED_COLUMN))?;
    equal("usable after an error", client.query_one("SELECT 1", &[]).await?.get(0), 1)
}

async fn cancel(client: &Client) -> Outcome {
    let token = client.cancel_token();
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await
    };
    let (slept, cancelled) = tokio::join!(client.query("SELECT pg_sleep(30)", &[]), cancel);
    cancelled?;
    let error = slept.err().ok_or("no error")?;
    equal("cancel", error.code(), Some(&SqlState::QUERY_CANCELED))?;
    equal("usable after cancel", client.query_one("SELECT 2", &[]).await?.get(0), 2)
}

/// A connection whose notifications come out of a channel.
async fn listening(parameters: &str) -> Result<(Client, Receiver<Notification>), Box<dyn Error>> {
    let (client, mut connection) = tokio_postgres::connect(parameters, NoTls).await?;
    let (told, notifications) = channel(100);
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message
                && told.send(notification).await.is_err()
            {
                return;
            }
        }
    });
    Ok((client, notifications))
}

/// So many notifications' payloads, as JSON without the commits' numbers.
async fn told(notifications: &mut Receiver<Notification>, count: usize) -> Result<Vec<Value>, Box<dyn Error>> {
    let mut payloads = Vec::new();
    for _ in 0..count {
        let notification = timeout(WAIT_MAX, notifications.recv()).await?.ok_or("the connection has ended")?;
        let mut payload: Value = serde_json::from_str(notification.payload())?;
        payload.as_object_mut().map(|object| object.remove("seq"));
        payloads.push(payload);
    }
    Ok(payloads)
}

async fn notifications(parameters: &str, client: &Client) -> Outcome {
    let (listener, mut received) = listening(parameters).await?;
    listener.batch_execute("LISTEN drv_tokio").await?;
    client.batch_execute("NOTIFY drv_tokio, '{}'").await?;
    equal("notification", told(&mut received, 1).await?, vec![json!({})])
}

/// KalamDB's own: PostgreSQL has no live queries.
async fn live_queries(parameters: &str, client: &Client) -> Outcome {
    let live: Value = serde_json::from_str(include_str!("../../testdata/drivers/live.json"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().replace("{0}", "drv_tokio_live");
    let list = |name: &str| live[name].as_array().cloned().unwrap_or_default();
    let (create, query, events) = (text(&live["create"]), text(&live["query"]), list("events"));
    client.batch_execute(&format!("DROP TABLE IF EXISTS drv_tokio_live; {create}")).await?;

    let (listener, mut received) = listening(parameters).await?;
    listener.batch_execute(&format!("LISTEN \"{query}\"")).await?;
    for change in list("changes") {
        client.batch_execute(&text(&change)).await?;
    }
    let expected: Vec<Value> = std::iter::once(json!({"op": "ready"})).chain(events).collect();
    equal("live query", told(&mut received, expected.len()).await?, expected)?;

    let subscribe = format!("SUBSCRIBE TO {query} WITH (snapshot)");
    client.batch_execute("INSERT INTO drv_tokio_live VALUES (1, 7, 'there')").await?;
    let (subscriber, _) = listening(parameters).await?;
    let rows = subscriber.query_raw(&subscribe, std::iter::empty::<&i32>()).await?;
    let mut rows = pin!(rows);
    let mut seen = Vec::new();
    for n in 0..4 {
        if n == 2 {
            client.batch_execute("UPDATE drv_tokio_live SET body = NULL").await?;
        }
        let row = timeout(WAIT_MAX, rows.try_next()).await??.ok_or("the rows have ended")?;
        seen.push((row.get::<_, String>(1), row.get::<_, Option<i32>>(2), row.get::<_, Option<String>>(3)));
    }
    let there = Some("there".to_owned());
    let expected = [
        ("snapshot".to_owned(), Some(1), there.clone()),
        ("ready".to_owned(), None, None),
        ("old".to_owned(), Some(1), there),
        ("update".to_owned(), Some(1), None),
    ];
    equal("subscribe", seen, expected.to_vec())?;
    subscriber.cancel_token().cancel_query(NoTls).await?;
    let ended = timeout(WAIT_MAX, rows.try_next()).await?.err().ok_or("no error")?;
    equal("subscribe, cancelled", ended.code(), Some(&SqlState::QUERY_CANCELED))?;

    let copied = subscriber.copy_out(&format!("COPY ({subscribe}) TO STDOUT")).await?;
    let mut copied = pin!(copied);
    let line = timeout(WAIT_MAX, copied.try_next()).await??.ok_or("the copy has ended")?;
    let line = String::from_utf8_lossy(&line).into_owned();
    equal("subscribe by copy", line.split_once('\t').map(|(_, rest)| rest), Some("snapshot\t1\t\\N\n"))?;
    client.batch_execute("DROP TABLE drv_tokio_live").await?;
    Ok(())
}

fn env(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

#[tokio::main]
async fn main() -> Outcome {
    let parameters = format!(
        "host={} port={} user={} dbname={} options='-c TimeZone=UTC'",
        env("PGHOST", "127.0.0.1"),
        env("PGPORT", "5432"),
        env("PGUSER", "postgres"),
        env("PGDATABASE", "postgres")
    );
    let (mut client, connection) = tokio_postgres::connect(&parameters, NoTls).await?;
    let connection = tokio::spawn(connection);
    types(&client).await?;
    statements(&mut client).await?;
    copy(&client).await?;
    transactions(&mut client).await?;
    cancel(&client).await?;
    notifications(&parameters, &client).await?;
    if client.simple_query("SELECT 1 FROM system.live_queries").await.is_ok() {
        live_queries(&parameters, &client).await?;
    }
    client.batch_execute("DROP TABLE drv_tokio").await?;
    drop(client);
    connection.await??;
    Ok(())
}
