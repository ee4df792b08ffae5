//! Points in time, as ISO 8601 in UTC.

use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{Duration, Month, OffsetDateTime, UtcOffset};

use super::{Args, Outcome};

fn parse(text: &str) -> Result<OffsetDateTime, String> {
    let wrong = || format!("{text:?} is no time, as in 2026-01-31T12:00:00Z");
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(time.to_offset(UtcOffset::UTC));
    }
    // `yyyy-MM-dd HH:mm:ssZ`, and a date alone.
    let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.replacen(' ', "T", 1) };
    OffsetDateTime::parse(&text, &Rfc3339).map(|time| time.to_offset(UtcOffset::UTC)).map_err(|_| wrong())
}

/// Writes a time by one of .NET's formats, made of `yyyy`, `MM`, `dd`, `HH`, `mm`, `ss`, `fff` and other characters.
pub(crate) fn write(time: OffsetDateTime, format: Option<&str>) -> Result<String, String> {
    let Some(format) = format else {
        return write(time, Some("yyyyMMddTHHmmssZ"));
    };
    let format = match format {
        "u" => "yyyy-MM-dd HH:mm:ssZ",
        "s" => "yyyy-MM-ddTHH:mm:ss",
        "o" | "O" => "yyyy-MM-ddTHH:mm:ss.fff0000Z",
        "d" => "MM/dd/yyyy",
        other if other.len() == 1 => return Err(format!("the format {other:?} of a time is not evaluated here")),
        other => other,
    };
    let mut result = String::new();
    let mut rest = format;
    while let Some(letter) = rest.chars().next() {
        let same = rest.chars().take_while(|next| *next == letter).count();
        let width = letter.len_utf8() * same;
        let value = match (letter, same) {
            ('y', 4) => format!("{:04}", time.year()),
            ('y', 2) => format!("{:02}", time.year() % 100),
            ('M', 2) => format!("{:02}", u8::from(time.month())),
            ('M', 1) => u8::from(time.month()).to_string(),
            ('d', 2) => format!("{:02}", time.day()),
            ('d', 1) => time.day().to_string(),
            ('H', 2) => format!("{:02}", time.hour()),
            ('H', 1) => time.hour().to_string(),
            ('m', 2) => format!("{:02}", time.minute()),
            ('s', 2) => format!("{:02}", time.second()),
            ('f', 3) => format!("{:03}", time.millisecond()),
            ('y' | 'M' | 'd' | 'H' | 'h' | 'm' | 's' | 'f' | 'F' | 't' | 'z' | 'K', _) => {
                return Err(format!("{:?} in the format of a time is not evaluated here", &rest[..width]));
            }
            _ => rest[..width].to_owned(),
        };
        result.push_str(&value);
        rest = &rest[width..];
    }
    Ok(result)
}

/// `utcNow()`.
pub(crate) fn now(format: Option<&str>) -> Result<String, String> {
    write(OffsetDateTime::now_utc(), format)
}

/// Adds an ISO 8601 duration; months and years by the calendar.
fn later(mut time: OffsetDateTime, duration: &str) -> Result<OffsetDateTime, String> {
    let wrong = || format!("{duration:?} is no duration, as in P1DT2H");
    let (negative, rest) = duration.strip_prefix('-').map_or((false, duration), |rest| (true, rest));
    let rest = rest.strip_prefix('P').filter(|rest| !rest.is_empty()).ok_or_else(wrong)?;
    let (mut clock, mut digits) = (false, String::new());
    for letter in rest.chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        if letter == 'T' && !clock && digits.is_empty() {
            clock = true;
            continue;
        }
        let number: i32 = digits.parse().map_err(|_| wrong())?;
        digits.clear();
        let number = i64::from(if negative { -number } else { number });
        let moved = match (letter, clock) {
            ('Y', false) => months(time, number * 12),
            ('M', false) => months(time, number),
            ('W', false) => time.checked_add(Duration::weeks(number)),
            ('D', false) => time.checked_add(Duration::days(number)),
            ('H', true) => time.checked_add(Duration::hours(number)),
            ('M', true) => time.checked_add(Duration::minutes(number)),
            ('S', true) => time.checked_add(Duration::seconds(number)),
            _ => return Err(wrong()),
        };
        time = moved.ok_or_else(|| format!("{duration} leads out of the calendar"))?;
    }
    if digits.is_empty() { Ok(time) } else { Err(wrong()) }
}

fn months(time: OffsetDateTime, months: i64) -> Option<OffsetDateTime> {
    let total = i64::from(time.year()) * 12 + i64::from(u8::from(time.month())) - 1 + months;
    let year = i32::try_from(total.div_euclid(12)).ok()?;
    let month = Month::try_from(u8::try_from(total.rem_euclid(12)).ok()? + 1).ok()?;
    let day = time.day().min(month.length(year));
    Some(time.replace_date(time::Date::from_calendar_date(year, month, day).ok()?))
}

pub(super) fn add(args: &Args) -> Outcome {
    let time = later(parse(args.text(0)?)?, args.text(1)?)?;
    let format = if args.0.len() == 3 { args.text(2)? } else { "yyyy-MM-ddTHH:mm:ssZ" };
    Ok(write(time, Some(format))?.into())
}

pub(super) fn from_epoch(args: &Args) -> Outcome {
    let time = OffsetDateTime::from_unix_timestamp(args.int(0)?).map_err(|error| error.to_string())?;
    Ok(write(time, Some("yyyy-MM-ddTHH:mm:ssZ"))?.into())
}

pub(super) fn to_epoch(args: &Args) -> Outcome {
    Ok(Value::from(parse(args.text(0)?)?.unix_timestamp()))
}
