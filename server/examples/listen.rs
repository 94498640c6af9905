//! Keeps the rows of a query and prints them whenever they have changed: tokio-postgres. See examples/listen.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::future::poll_fn;

use serde_json::Value;
use tokio::sync::mpsc::channel;
use tokio_postgres::{AsyncMessage, NoTls};

fn env(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let query = std::env::args().nth(1).ok_or("a query is to be given")?;
    let parameters = format!(
        "host={} port={} user={} dbname={}",
        env("PGHOST", "127.0.0.1"),
        env("PGPORT", "5432"),
        env("PGUSER", "postgres"),
        env("PGDATABASE", "postgres")
    );
    let (client, mut connection) = tokio_postgres::connect(&parameters, NoTls).await?;
    // Who reads too slowly is reset by the server: it waits meanwhile, and TCP with it.
    let (told, mut payloads) = channel(100);
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = told.send(notification.payload().to_owned()).await;
            }
        }
    });
    let channel = query.replace('"', "\"\"");
    client.batch_execute(&format!("LISTEN \"{channel}\" WITH (snapshot = true)")).await?;

    let mut rows: BTreeMap<String, Value> = BTreeMap::new();
    while let Some(payload) = payloads.recv().await {
        let change: Value = serde_json::from_str(&payload)?;
        let key = change["key"].to_string();
        match change["op"].as_str() {
            Some("reset") => rows.clear(),
            Some("delete") => drop(rows.remove(&key)),
            _ if !change["new"].is_null() => drop(rows.insert(key, change["new"].clone())),
            _ => {}
        }
        if change["op"] == "ready" || change["last"] == true {
            println!("{}", Value::Array(rows.values().cloned().collect()));
        }
    }
    Ok(())
}
