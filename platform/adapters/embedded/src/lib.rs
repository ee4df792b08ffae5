//! The table store on SQLite.
