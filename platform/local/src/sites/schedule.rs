//! NCRONTAB: the schedules of timer triggers, six fields from seconds to days of the week, in UTC.

use std::str::FromStr;

use time::{Date, Duration, OffsetDateTime, Time};

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no NCRONTAB schedule of six fields: {why}")]
pub struct ScheduleError {
    text: String,
    why: String,
}

/// A schedule: for each field a set of values, as bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// No schedule that ever occurs has a longer gap: 29 February on a given day of the week, around a year like 2100.
const HORIZON_DAYS: i64 = 366 * 41;

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let error = |why: String| ScheduleError { text: text.to_owned(), why };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [seconds, minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(error(format!("there are {} fields", fields.len())));
        };
        let field = |text: &str, low: u32, high: u32, names: &[&str]| field(text, low, high, names).map_err(error);
        Ok(Schedule {
            seconds: field(seconds, 0, 59, &[])?,
            minutes: field(minutes, 0, 59, &[])?,
            hours: field(hours, 0, 23, &[])?,
            days: field(days, 1, 31, &[])?,
            months: field(months, 1, 12, &MONTHS)?,
            weekdays: field(weekdays, 0, 6, &WEEKDAYS)?,
        })
    }
}

/// The values of one field: a list of `*`, numbers, names and ranges, each with an optional step.
fn field(text: &str, low: u32, high: u32, names: &[&str]) -> Result<u64, String> {
    let value = |text: &str| -> Result<u32, String> {
        let named = names.iter().position(|name| text.len() >= 3 && text.to_ascii_lowercase().starts_with(name));
        let number = named.map(|position| position as u32 + low).or_else(|| text.parse().ok());
        number.filter(|number| (low..=high).contains(number)).ok_or(format!("{text:?} is not from {low} to {high}"))
    };
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((first, last)) => (value(first)?, value(last)?),
            None => (value(range)?, if step.is_some() { high } else { value(range)? }),
        };
        let step = step.map_or(Ok(1), |step| {
            step.parse::<usize>().ok().filter(|step| *step > 0).ok_or(format!("the step {step:?} is not from 1"))
        })?;
        if first > last {
            return Err(format!("the range {range} runs backwards"));
        }
        for number in (first..=last).step_by(step) {
            set |= 1 << number;
        }
    }
    Ok(set)
}

fn first_from(set: u64, from: u8) -> Option<u8> {
    let rest = set & (u64::MAX << from);
    (rest != 0).then(|| rest.trailing_zeros() as u8)
}

impl Schedule {
    /// The first occurrence after a time; `None` where there is none, as for 31 February.
    pub fn next_after(&self, after: OffsetDateTime) -> Option<OffsetDateTime> {
        let start = after.to_offset(time::UtcOffset::UTC).replace_nanosecond(0).ok()? + Duration::SECOND;
        let mut day = start.date();
        for _ in 0..HORIZON_DAYS {
            if self.on(day) {
                let from = if day == start.date() { start.time() } else { Time::MIDNIGHT };
                if let Some(time) = self.time_from(from) {
                    return Some(day.with_time(time).assume_utc());
                }
            }
            day = day.next_day()?;
        }
        None
    }

    /// NCRONTAB asks for both the day of the month and of the week, other than cron.
    fn on(&self, day: Date) -> bool {
        let has = |set: u64, value: u8| set >> value & 1 == 1;
        has(self.days, day.day())
            && has(self.months, u8::from(day.month()))
            && has(self.weekdays, day.weekday().number_days_from_sunday())
    }

    fn time_from(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = from.as_hms();
        let lowest = |set| first_from(set, 0);
        let at = |h, m, s| Time::from_hms(h, m, s).ok();
        if first_from(self.hours, hour) == Some(hour) {
            if first_from(self.minutes, minute) == Some(minute)
                && let Some(second) = first_from(self.seconds, second)
            {
                return at(hour, minute, second);
            }
            if let Some(minute) = first_from(self.minutes, minute + 1) {
                return at(hour, minute, lowest(self.seconds)?);
            }
        }
        at(first_from(self.hours, hour + 1)?, lowest(self.minutes)?, lowest(self.seconds)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::format_description::well_known::Rfc3339;

    #[track_caller]
    fn check(schedule: &str, after: &str, expected: Option<&str>) {
        let after = OffsetDateTime::parse(after, &Rfc3339).unwrap();
        let next = schedule.parse::<Schedule>().unwrap().next_after(after);
        assert_eq!(next.map(|next| next.format(&Rfc3339).unwrap()).as_deref(), expected, "{schedule}");
    }

    #[test]
    fn occurrences() {
        check("0 */5 * * * *", "2024-02-28T23:57:01.5Z", Some("2024-02-29T00:00:00Z"));
        check("0 */5 * * * *", "2024-02-29T00:00:00Z", Some("2024-02-29T00:05:00Z"));
        check("*/2 * * * * *", "2024-12-31T23:59:58.9Z", Some("2025-01-01T00:00:00Z"));
        check("30 15 10 * * *", "2024-05-01T10:15:30Z", Some("2024-05-02T10:15:30Z"));
        check("0 30 9 * * Mon-Fri", "2024-05-03T09:30:00Z", Some("2024-05-06T09:30:00Z"));
        check("0 0 0 29 2 *", "2024-03-01T00:00:00Z", Some("2028-02-29T00:00:00Z"));
        check("0 0 12 1,15 jan *", "2024-01-02T00:00:00Z", Some("2024-01-15T12:00:00Z"));
        check("0 0 0 13 * 5", "2024-05-01T00:00:00Z", Some("2024-09-13T00:00:00Z"));
        check("0 5/20 * * * *", "2024-01-01T00:06:00Z", Some("2024-01-01T00:25:00Z"));
        check("0 0 0 31 2 *", "2024-01-01T00:00:00Z", None);
    }

    #[test]
    fn what_is_no_schedule() {
        for text in ["", "* * * * *", "60 * * * * *", "* * * 0 * *", "*/0 * * * * *", "5-1 * * * * *", "a * * * * *"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
