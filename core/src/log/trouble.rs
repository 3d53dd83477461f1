//! What an error of the database means for the batch it came with.

/// What kind of trouble an error is.
pub(super) enum Trouble {
    /// The statement was refused for what it says.
    Poison(Option<Box<str>>),
    /// There is no partition for the next positions.
    NoPartition,
    /// The statement was refused for reasons of the server: the lock was not to be had, the disk is full.
    Refused,
    /// The connection is gone, and with it the answer.
    Lost,
}

impl Trouble {
    pub fn of(error: &sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = error else { return Self::Lost };
        let code = database.code().unwrap_or_default();
        match code.as_ref() {
            "23514" if database.constraint().is_none() => Self::NoPartition,
            // The server is going down or was: whether it had committed is to be looked up.
            "57P01" | "57P02" | "57P03" => Self::Lost,
            // 21 cardinality, 22 data, 23 integrity, 54 too long or too deep: what is said, not who says it.
            code if ["21", "22", "23", "54"].iter().any(|class| code.starts_with(class)) => {
                Self::Poison(database.constraint().map(Into::into))
            }
            // The transaction was ended under us while idle: 25P03 closes the connection too.
            code if code.starts_with("08") || code == "25P03" => Self::Lost,
            _ => Self::Refused,
        }
    }
}
