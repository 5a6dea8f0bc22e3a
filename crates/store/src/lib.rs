//! SQLite: group-commit writer, migrations, record encoding, read queries.
