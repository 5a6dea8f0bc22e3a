//! `auth`: what is known about who is asking.

use crate::context::Context;
use crate::failure::{Outcome, fail};

/// Commands of `auth`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Hash a password for API.Auth.Users
    #[command(after_help = "Example:\n  bacalhau auth hash-password")]
    HashPassword,
    /// Show which server and which credentials would be used
    #[command(after_help = "Example:\n  bacalhau auth info")]
    Info,
    /// Single sign-on
    #[command(subcommand)]
    Sso(Sso),
}

/// Commands of `auth sso`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Sso {
    /// Log in through the server's identity provider
    #[command(after_help = "Example:\n  bacalhau auth sso login")]
    Login,
    /// Forget the login
    #[command(after_help = "Example:\n  bacalhau auth sso logout")]
    Logout {
        /// Do not ask
        #[arg(long, short = 'f')]
        force: bool,
    },
    /// Show the token
    #[command(after_help = "Example:\n  bacalhau auth sso token --decode")]
    Token {
        /// Show what is in it
        #[arg(long, short = 'd')]
        decode: bool,
    },
}

/// Runs a command.
pub(crate) async fn run(context: &Context, verb: Verb) -> Outcome {
    match verb {
        Verb::Info => info(context).await,
        Verb::HashPassword => Err(fail("auth hash-password is not supported yet")
            .hint("any bcrypt hash works, for example: htpasswd -nbBC 12 user password")
            .into()),
        Verb::Sso(_) => Err(fail("single sign-on is not supported yet")
            .hint("use BACALHAU_API_KEY, or BACALHAU_API_USERNAME and BACALHAU_API_PASSWORD")
            .into()),
    }
}

async fn info(context: &Context) -> Outcome {
    let out = &context.out;
    let client = context.client()?;
    let set = |name: &str| match context.environment.get(name).is_some() {
        true => "Set",
        false => "Not Set",
    };
    out.line(&format!(
        "\nTarget environment: {}\n\nEnvironment Variables:\nAPI Key: {}\nUsername: {}\nPassword: {}\n",
        client.address(),
        set("BACALHAU_API_KEY"),
        set("BACALHAU_API_USERNAME"),
        set("BACALHAU_API_PASSWORD"),
    ))?;
    let Ok(answer) = client.agent_auth_config().await else {
        return out.line("Server does not support Basic Auth, API Keys, or SSO logins");
    };
    out.line("Node SSO Authentication:")?;
    if answer.config.provider_id.is_empty() {
        out.line("Server does not support SSO login")?;
    } else {
        out.line(&format!(
            "Provider Name: {}\nProvider ID: {}\nVersion: {}",
            answer.config.provider_name, answer.config.provider_id, answer.version
        ))?;
    }
    out.line("\nCredentials in the environment are used first; unset them to use another kind of login.")
}
