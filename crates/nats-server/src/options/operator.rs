//! Trust in accounts and users that an operator has signed for.

use std::collections::BTreeMap;

/// Operator mode: users come with JWTs that their account has signed, accounts with JWTs that the operator has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorOptions {
    /// The operator's JWT, signed by itself.
    pub jwt: String,
    /// The memory resolver: account JWTs by public key (`A...`). Users of accounts that are not here are refused.
    pub resolver: BTreeMap<String, String>,
    /// Public key of the system account, if there is one. It must be in the resolver.
    pub system_account: Option<String>,
}
