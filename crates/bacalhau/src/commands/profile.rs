//! `profile`: saved connections to servers.

use crate::context::Context;
use crate::failure::{Outcome, fail};
use crate::output::list::{self, Field, ListArgs};
use crate::output::table::Column;
use crate::profiles::{Profile, ProfileTls, Profiles};
use serde::Serialize;
use std::io::BufRead;

/// Commands of `profile`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Remove a profile
    #[command(after_help = "Example:\n  bacalhau profile delete test --force")]
    Delete {
        /// Name of the profile
        name: String,
        /// Do not ask
        #[arg(long, short = 'f')]
        force: bool,
    },
    /// List profiles
    #[command(after_help = "Example:\n  bacalhau profile list")]
    List(ListArgs),
    /// Create or change a profile
    #[command(
        after_help = "Example:\n  bacalhau profile save prod --endpoint https://bacalhau.example.com:1234 --select"
    )]
    Save(SaveArgs),
    /// Use a profile from now on
    #[command(after_help = "Example:\n  bacalhau profile select prod")]
    Select {
        /// Name of the profile
        name: String,
    },
    /// Show a profile
    #[command(after_help = "Example:\n  bacalhau profile show prod")]
    Show {
        /// Name of the profile [default: the one in use]
        name: Option<String>,
        /// Show the token in full
        #[arg(long)]
        show_token: bool,
    },
}

/// Flags of `profile save`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SaveArgs {
    /// Name of the profile
    name: String,
    /// URL of the server, or HOST:PORT for plain HTTP
    #[arg(long, value_name = "URL", default_value = "", hide_default_value = true)]
    endpoint: String,
    /// Note for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// Kept in the file for other clients
    #[arg(long, value_name = "TIME", default_value = "", hide_default_value = true)]
    timeout: String,
    /// Accept any certificate
    #[arg(long)]
    insecure: bool,
    /// Use the profile from now on
    #[arg(long)]
    select: bool,
}

#[derive(Serialize)]
struct Row {
    current: String,
    name: String,
    endpoint: String,
    auth: String,
}

/// Runs a command.
pub(crate) fn run(context: &Context, verb: Verb) -> Outcome {
    let out = &context.out;
    let profiles = Profiles::of(context.settings()?.data_dir());
    match verb {
        Verb::List(args) => list_all(context, &profiles, &args),
        Verb::Save(args) => save(context, &profiles, &args),
        Verb::Show { name, show_token } => show(context, &profiles, name, show_token),
        Verb::Select { name } => {
            profiles.must_load(&name).map_err(|mut e| {
                e.message = format!("failed to select profile: {}", e.message);
                e
            })?;
            profiles.select(&name)?;
            out.line(&format!("Switched to profile {name:?}"))
        }
        Verb::Delete { name, force } => {
            profiles.must_load(&name)?;
            let is_current = profiles.current().as_deref() == Some(name.as_str());
            if is_current && !force && !confirmed(context, &name)? {
                return out.line("Deletion cancelled");
            }
            profiles.delete(&name)?;
            out.line(&format!("Profile {name:?} deleted"))
        }
    }
}

fn list_all(context: &Context, profiles: &Profiles, args: &ListArgs) -> Outcome {
    let current = profiles.current();
    let mut rows = Vec::new();
    for name in profiles.names()? {
        let profile = profiles.must_load(&name)?;
        rows.push(Row {
            current: if current.as_ref() == Some(&name) { "*" } else { "" }.to_owned(),
            endpoint: profile.endpoint.clone(),
            auth: if profile.token().is_some() { "token" } else { "" }.to_owned(),
            name,
        });
    }
    if rows.is_empty() {
        // On standard error, so that scripts that read JSON find an empty list and not a sentence.
        context.out.note("No profiles found");
        if args.output == list::ListFormat::Table {
            return Ok(());
        }
    }
    let fields = [
        Field::new(Column::new("current"), |r: &Row| r.current.clone()),
        Field::new(Column::new("name"), |r: &Row| r.name.clone()),
        Field::new(Column::new("endpoint"), |r: &Row| r.endpoint.clone()),
        Field::new(Column::new("auth"), |r: &Row| r.auth.clone()),
    ];
    list::print(&context.out, args, &rows, &fields)
}

fn save(context: &Context, profiles: &Profiles, args: &SaveArgs) -> Outcome {
    let mut profile: Profile = match profiles.load(&args.name)? {
        Some(profile) => profile,
        None if args.endpoint.is_empty() => {
            return Err(fail("endpoint is required when creating a new profile")
                .hint("add --endpoint http://host:1234")
                .into());
        }
        None => Profile::default(),
    };
    let set = |field: &mut String, value: &str| {
        if !value.is_empty() {
            value.clone_into(field);
        }
    };
    set(&mut profile.endpoint, &args.endpoint);
    set(&mut profile.description, &args.description);
    set(&mut profile.timeout, &args.timeout);
    if args.insecure {
        profile.tls = Some(ProfileTls { insecure: true });
    }
    profiles.save(&args.name, &profile)?;
    context.out.line(&format!("Profile {:?} saved", args.name))?;
    if args.select {
        profiles.select(&args.name)?;
        context.out.line(&format!("Switched to profile {:?}", args.name))?;
    }
    Ok(())
}

fn show(context: &Context, profiles: &Profiles, name: Option<String>, show_token: bool) -> Outcome {
    let current = profiles.current();
    let from_env = context.environment.get("BACALHAU_PROFILE").map(str::to_owned);
    let name = name.or(from_env).or_else(|| current.clone()).ok_or_else(|| {
        fail("no current profile set").hint("choose one with `bacalhau profile select <name>`")
    })?;
    let profile = profiles.must_load(&name)?;
    context.out.raw(describe(&name, current.as_ref() == Some(&name), &profile, show_token).as_bytes())
}

fn describe(name: &str, is_current: bool, profile: &Profile, show_token: bool) -> String {
    let auth = match profile.token() {
        None => "none".to_owned(),
        Some(token) if show_token => format!("token ({token})"),
        Some(token) => format!("token ({})", masked(token)),
    };
    let timeout = if profile.timeout.is_empty() { "30s" } else { &profile.timeout };
    let mut text = format!(
        "Name:        {name}{}\nEndpoint:    {}\nAuth:        {auth}\nTLS:         {}\nTimeout:     {timeout}\n",
        if is_current { " (current)" } else { "" },
        profile.endpoint,
        if profile.is_insecure() { "insecure" } else { "secure" },
    );
    if !profile.description.is_empty() {
        text.push_str(&format!("Description: {}\n", profile.description));
    }
    text
}

/// First and last four characters of long tokens, nothing of short ones.
fn masked(token: &str) -> String {
    let chars: Vec<char> = token.chars().collect();
    match chars.as_slice() {
        [a, b, c, d, middle @ .., e, f, g, h] if middle.len() >= 8 => {
            format!("{}****{}", String::from_iter([a, b, c, d]), String::from_iter([e, f, g, h]))
        }
        _ => "****".to_owned(),
    }
}

fn confirmed(context: &Context, name: &str) -> Result<bool, crate::failure::Failure> {
    context.out.raw(format!("Profile {name:?} is the current profile. Delete anyway? [y/N]: ").as_bytes())?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|e| fail(format!("cannot read the answer: {e}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles::ProfileAuth;

    #[test]
    fn tokens_are_masked() {
        assert_eq!(masked("abcd12345678wxyz"), "abcd****wxyz");
        assert_eq!(masked("abcd1234"), "****");
        let profile = Profile {
            endpoint: "http://h".to_owned(),
            auth: Some(ProfileAuth { token: "hush-hush-hush-hush".to_owned() }),
            ..Profile::default()
        };
        let text = describe("p", true, &profile, false);
        assert_eq!(
            text,
            "Name:        p (current)\nEndpoint:    http://h\nAuth:        token (hush****hush)\nTLS:         secure\nTimeout:     30s\n"
        );
        assert!(describe("p", false, &profile, true).contains("hush-hush-hush-hush"));
    }
}
