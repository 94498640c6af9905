//! Casts among the string types, with length coercion, and of booleans to strings (pg_cast).

use std::borrow::Cow;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::{BOOL, BPCHAR, INT4, NAME, TEXT};
use crate::sql::functions::CastContext::{Assignment, Explicit, Implicit};
use crate::sql::functions::adapt::map1;
use crate::sql::functions::{Call, CastContext, CastDef};
use crate::types::io::{char_byte, coerce_bpchar, coerce_varchar, parse_char, truncate_name};

const CHAR: PgType = PgType::CHAR;
const VARCHAR: PgType = PgType::VARCHAR;

const fn cast(from: PgType, to: PgType, context: CastContext, imp: crate::sql::functions::ScalarImpl) -> CastDef {
    CastDef { from, to, context, imp }
}

pub(crate) static CASTS: &[CastDef] = &[
    cast(TEXT, VARCHAR, Implicit, to_varchar),
    cast(VARCHAR, VARCHAR, Implicit, to_varchar),
    cast(NAME, VARCHAR, Assignment, to_varchar),
    cast(CHAR, VARCHAR, Assignment, to_varchar),
    cast(BPCHAR, VARCHAR, Implicit, |call, a| each(a, |s| coerce_varchar(trimmed(s), call.typmod, call.explicit))),
    cast(TEXT, BPCHAR, Implicit, to_bpchar),
    cast(VARCHAR, BPCHAR, Implicit, to_bpchar),
    cast(BPCHAR, BPCHAR, Implicit, to_bpchar),
    cast(NAME, BPCHAR, Assignment, to_bpchar),
    cast(CHAR, BPCHAR, Assignment, to_bpchar),
    cast(VARCHAR, TEXT, Implicit, same),
    cast(NAME, TEXT, Implicit, same),
    cast(CHAR, TEXT, Implicit, same),
    cast(BPCHAR, TEXT, Implicit, |_, a| each(a, |s| Ok(trimmed(s)))),
    cast(TEXT, NAME, Implicit, to_name),
    cast(VARCHAR, NAME, Implicit, to_name),
    cast(BPCHAR, NAME, Implicit, |_, a| each(a, |s| Ok(Cow::Borrowed(truncate_name(s).trim_end_matches(' '))))),
    cast(TEXT, CHAR, Assignment, to_char),
    cast(VARCHAR, CHAR, Assignment, to_char),
    cast(BPCHAR, CHAR, Assignment, to_char),
    cast(CHAR, INT4, Explicit, |_, a| map1(a, |s: &str| Ok(i32::from(char_byte(s) as i8)))),
    cast(INT4, CHAR, Explicit, |_, a| map1(a, int4_to_char)),
    cast(BOOL, TEXT, Assignment, |_, a| map1(a, |v: bool| Ok(v.to_string()))),
    cast(BOOL, VARCHAR, Assignment, |call, a| {
        map1(a, |v: bool| Ok(coerce_varchar(v.to_string().into(), call.typmod, call.explicit)?.into_owned()))
    }),
    cast(BOOL, BPCHAR, Assignment, |call, a| {
        map1(a, |v: bool| Ok(coerce_bpchar(v.to_string().into(), call.typmod, call.explicit)?.into_owned()))
    }),
];

fn each<'a>(args: &'a [ArrayRef], mut f: impl FnMut(&'a str) -> Result<Cow<'a, str>>) -> Result<ArrayRef> {
    let text = args[0].as_string::<i32>();
    let mut out = StringBuilder::with_capacity(text.len(), text.value_data().len());
    for value in text.iter() {
        match value {
            Some(value) => out.append_value(f(value)?),
            None => out.append_null(),
        }
    }
    Ok(std::sync::Arc::new(out.finish()))
}

fn trimmed(s: &str) -> Cow<'_, str> {
    Cow::Borrowed(s.trim_end_matches(' '))
}

fn same(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    Ok(args[0].clone())
}

fn to_varchar(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    if call.typmod < 0 {
        return same(call, args);
    }
    each(args, |s| coerce_varchar(Cow::Borrowed(s), call.typmod, call.explicit))
}

fn to_bpchar(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    if call.typmod < 0 {
        return same(call, args);
    }
    each(args, |s| coerce_bpchar(Cow::Borrowed(s), call.typmod, call.explicit))
}

fn to_name(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    each(args, |s| Ok(Cow::Borrowed(truncate_name(s))))
}

fn to_char(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    each(args, |s| Ok(parse_char(s)))
}

fn int4_to_char(v: i32) -> Result<String> {
    let byte =
        i8::try_from(v).map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "\"char\" out of range"))?;
    Ok(crate::types::io::char_text(byte as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let cut = |s, typmod, explicit| coerce_varchar(Cow::Borrowed(s), typmod, explicit).map(Cow::into_owned);
        assert_eq!(cut("abcdef", 7, true).unwrap(), "abc");
        assert_eq!(cut("abc  ", 7, false).unwrap(), "abc");
        assert_eq!(cut("abcd", 7, false).unwrap_err().message(), "value too long for type character varying(3)");
        assert_eq!(coerce_bpchar(Cow::Borrowed("ab"), 8, false).unwrap(), "ab  ");
        assert_eq!(int4_to_char(-61).unwrap(), "\\303");
        assert_eq!(int4_to_char(128).unwrap_err().message(), "\"char\" out of range");
    }
}
