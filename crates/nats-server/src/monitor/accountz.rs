//! `/accountz`: the names of the accounts, and a few figures of one.

use serde::Serialize;

use super::State;
use super::failure::Failure;
use super::params::Params;
use super::rows::Question;
use super::subsz::Figures;

#[derive(Serialize)]
pub(super) struct Accountz {
    server_id: String,
    now: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_account: Option<std::sync::Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account_detail: Option<Detail>,
}

#[derive(Serialize)]
pub(super) struct Detail {
    account_name: String,
    name_tag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_system: Option<bool>,
    expired: bool,
    complete: bool,
    jetstream_enabled: bool,
    leafnode_connections: u64,
    client_connections: u64,
    subscriptions: u64,
    sublist_stats: Figures,
}

/// # Errors
/// For an account that there is not, and if the loop does not answer.
pub(super) async fn accountz(state: &State, params: &Params) -> Result<Accountz, Failure> {
    let mut answer = Accountz {
        server_id: state.facts.server_id.to_string(),
        now: state.clock.now(),
        system_account: state.facts.system_account.clone(),
        accounts: None,
        account_detail: None,
    };
    let Some(wanted) = params.text("acc") else {
        let mut names = Vec::new();
        state.walk(Question::Accounts, |row| names.push(row.name.to_string())).await?;
        answer.accounts = Some(names);
        return Ok(answer);
    };
    let mut figures = None;
    state
        .walk(Question::Accounts, |row| {
            if *row.name == *wanted {
                figures.get_or_insert_with(Figures::default).add(&row.interest);
            }
        })
        .await?;
    let Some(figures) = figures else {
        return Err(Failure::bad(format!("Account {wanted} does not exist")));
    };
    let mut clients = 0;
    state.walk(Question::Open, |row| clients += u64::from(*row.account == *wanted)).await?;
    answer.account_detail = Some(Detail {
        account_name: wanted.to_owned(),
        name_tag: wanted.to_owned(),
        is_system: (state.facts.system_account.as_deref() == Some(wanted)).then_some(true),
        expired: false,
        complete: true,
        jetstream_enabled: false,
        leafnode_connections: 0,
        client_connections: clients,
        subscriptions: figures.num_subscriptions,
        sublist_stats: figures,
    });
    Ok(answer)
}
