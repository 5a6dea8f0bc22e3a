//! Features that the server starts without, with a warning.

use super::ServerConfig;
use super::accounts::is_off;
use super::error::ConfError;
use super::fields::Item;
use super::value::Value;

/// Notes a feature that is left out. False if the field is none of those.
pub(super) fn left_out(item: &Item<'_>, config: &mut ServerConfig) -> Result<bool, ConfError> {
    let what = match item.name.as_str() {
        "jetstream" if is_off(item) => return Ok(true),
        "jetstream" => "JetStream is not supported by this server; its clients will find no responders",
        "leaf" | "leafnodes" => {
            refuse_remotes(item)?;
            "leaf nodes are not supported by this server; it does not listen for them"
        }
        _ => return Ok(false),
    };
    config.warnings.push(format!("{}: {:?} is ignored: {what}", item.place(), item.key));
    Ok(true)
}

/// A link that the server itself should open would be missed, not only by those who would have come through it.
fn refuse_remotes(item: &Item<'_>) -> Result<(), ConfError> {
    for field in item.items()? {
        let is_empty = matches!(&field.node.value, Value::List(remotes) if remotes.is_empty());
        if field.name == "remotes" && !is_empty {
            return Err(field.unsupported());
        }
    }
    Ok(())
}
