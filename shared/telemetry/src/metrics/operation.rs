//! The operations of clients, as metrics name them.

/// An operation of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operation {
    Join,
    Heartbeat,
    Leave,
    MetadataSet,
    MetadataUpdate,
    MetadataRemove,
    MetadataGet,
    LockAcquire,
    LockRenew,
    LockRelease,
    LockGet,
    AuthRefresh,
    /// An event that could not be read.
    Invalid,
}

impl Operation {
    /// All operations, in the order of their discriminants.
    pub(super) const ALL: [Operation; 13] = [
        Operation::Join,
        Operation::Heartbeat,
        Operation::Leave,
        Operation::MetadataSet,
        Operation::MetadataUpdate,
        Operation::MetadataRemove,
        Operation::MetadataGet,
        Operation::LockAcquire,
        Operation::LockRenew,
        Operation::LockRelease,
        Operation::LockGet,
        Operation::AuthRefresh,
        Operation::Invalid,
    ];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Join => "join",
            Operation::Heartbeat => "heartbeat",
            Operation::Leave => "leave",
            Operation::MetadataSet => "metadata.set",
            Operation::MetadataUpdate => "metadata.update",
            Operation::MetadataRemove => "metadata.remove",
            Operation::MetadataGet => "metadata.get",
            Operation::LockAcquire => "lock.acquire",
            Operation::LockRenew => "lock.renew",
            Operation::LockRelease => "lock.release",
            Operation::LockGet => "lock.get",
            Operation::AuthRefresh => "auth.refresh",
            Operation::Invalid => "invalid",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_at_the_index_of_its_discriminant() {
        assert!(Operation::ALL.iter().enumerate().all(|(index, operation)| *operation as usize == index));
    }
}
