//! Functions of notifications (manual, NOTIFY and section 9.26).

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, ListBuilder, StringArray, StringBuilder};
use kalamdb_catalog::{PgType, Result, SqlError};

use super::adapt::map0;
use super::{Call, FnDef};

const TEXT: PgType = PgType::TEXT;

pub(super) static FUNCTIONS: &[FnDef] = &[
    FnDef::new(3036, "pg_notify", &[TEXT, TEXT], PgType::VOID, pg_notify).volatile().called_on_null(),
    FnDef::new(3035, "pg_listening_channels", &[], TEXT, listening_channels).stable().set(),
    FnDef::new(3296, "pg_notification_queue_usage", &[], PgType::FLOAT8, queue_usage).volatile(),
];

/// NULL is an empty text.
fn pg_notify(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let [channels, payloads] = args else { return Err(SqlError::internal("pg_notify takes two arguments")) };
    let mut announcements = call.session.announcements().lock();
    for (channel, payload) in channels.as_string::<i32>().iter().zip(payloads.as_string::<i32>()) {
        announcements.notify(channel.unwrap_or_default(), payload.unwrap_or_default())?;
    }
    drop(announcements);
    Ok(Arc::new(StringArray::from(vec![""; call.rows])))
}

fn listening_channels(call: &Call<'_>, _: &[ArrayRef]) -> Result<ArrayRef> {
    let channels = call.session.listener.get().map(|listener| listener.listed()).unwrap_or_default();
    let mut lists = ListBuilder::new(StringBuilder::new());
    for _ in 0..call.rows {
        channels.iter().for_each(|channel| lists.values().append_value(channel));
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

fn queue_usage(call: &Call<'_>, _: &[ArrayRef]) -> Result<ArrayRef> {
    let usage = call.session.live.as_ref().map_or(0.0, |live| live.queue_usage());
    map0(call.rows, || Ok(usage))
}
