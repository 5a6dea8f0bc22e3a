//! Label selectors: which nodes may run a job, which jobs a listing shows. Kubernetes' rules.

mod parse;
mod syntax;

pub use parse::parse;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Keys with this prefix express a preference, not a requirement.
const FAVOUR: &str = "favour_";

/// One requirement on a label, e.g. `{"Key":"os_type","Operator":"=","Values":["linux"]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Requirement {
    /// Label name.
    pub key: String,
    /// `in notin exists ! = == != gt lt`.
    pub operator: String,
    /// Values; how many depends on the operator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

impl Requirement {
    /// What is wrong with it, if anything. Texts are Bacalhau 1.9's; unknown operators, which it accepted and then
    /// choked on, are refused.
    pub fn validate(&self) -> Result<(), String> {
        if self.key.trim().is_empty() {
            return Err("selector key cannot be blank".to_owned());
        }
        let values = self.values.len();
        match self.operator.as_str() {
            "in" | "notin" if values == 0 => {
                Err("selector values cannot be empty for In or NotIn operators".to_owned())
            }
            "exists" | "!" if values > 0 => {
                Err("selector values must be empty for Exists or KeyNotInImap operators".to_owned())
            }
            "=" | "==" | "!=" | "gt" | "lt" if values != 1 => {
                Err("selector values must have exactly one value for other operators".to_owned())
            }
            "gt" | "lt" if self.number().is_none() => Err(format!(
                "selector value of operator {} must be an integer, not {:?}",
                self.operator,
                self.first()
            )),
            "in" | "notin" | "exists" | "!" | "=" | "==" | "!=" | "gt" | "lt" => Ok(()),
            other => Err(format!(
                "unknown selector operator {other:?}, use one of in, notin, exists, !, =, ==, !=, gt, lt"
            )),
        }
    }

    /// Whether labels meet it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_key(&self.key, labels)
    }

    /// True for a preference: a key that starts with `favour_`.
    pub fn is_favour(&self) -> bool {
        self.key.starts_with(FAVOUR)
    }

    /// Whether labels meet a preference; its prefix is not part of the label's name.
    pub fn matches_favour(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_key(self.key.strip_prefix(FAVOUR).unwrap_or(&self.key), labels)
    }

    fn matches_key(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(key);
        let listed = value.is_some_and(|v| self.values.contains(v));
        let compare = |test: fn(&i64, &i64) -> bool| {
            let number = value.and_then(|v| v.parse::<i64>().ok());
            matches!((number, self.number()), (Some(a), Some(b)) if test(&a, &b))
        };
        match self.operator.as_str() {
            "exists" => value.is_some(),
            "!" => value.is_none(),
            "notin" | "!=" => !listed,
            "gt" => compare(i64::gt),
            "lt" => compare(i64::lt),
            "in" | "=" | "==" => listed,
            _ => false,
        }
    }

    fn first(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }

    fn number(&self) -> Option<i64> {
        self.first().parse().ok()
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match self.operator.as_str() {
            "exists" => write!(f, "{key}"),
            "!" => write!(f, "!{key}"),
            "in" | "notin" => write!(f, "{key} {} ({})", self.operator, self.values.join(",")),
            "gt" => write!(f, "{key}>{}", self.first()),
            "lt" => write!(f, "{key}<{}", self.first()),
            other => write!(f, "{key}{other}{}", self.first()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matching() {
        let labels =
            BTreeMap::from([("env".to_owned(), "prod".to_owned()), ("mem".to_owned(), "5".to_owned())]);
        for (text, expected) in [
            ("env=prod", true),
            ("env==dev", false),
            ("env!=dev", true),
            ("other!=x", true),
            ("env in (dev,prod)", true),
            ("env notin (prod)", false),
            ("other notin (x)", true),
            ("env", true),
            ("!env", false),
            ("!other", true),
            ("mem>4", true),
            ("mem<5", false),
            ("env>1", false),
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!(parsed.iter().all(|r| r.matches(&labels)), expected, "{text}");
        }
        let favour =
            Requirement { key: "favour_env".into(), operator: "=".into(), values: vec!["prod".into()] };
        assert!(favour.is_favour() && favour.matches_favour(&labels) && !favour.matches(&labels));
    }

    #[test]
    fn an_unknown_operator_matches_nothing() {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let odd = Requirement { key: "a".into(), operator: "zzz".into(), values: vec!["b".into()] };
        assert!(!odd.matches(&labels));
    }

    #[test]
    fn validation() {
        let make = |key: &str, operator: &str, values: &[&str]| Requirement {
            key: key.into(),
            operator: operator.into(),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        };
        assert!(make("", "=", &["a"]).validate().unwrap_err().contains("cannot be blank"));
        assert!(make("a", "in", &[]).validate().unwrap_err().contains("cannot be empty for In"));
        assert!(make("a", "exists", &["b"]).validate().unwrap_err().contains("must be empty for Exists"));
        assert!(make("a", "=", &["b", "c"]).validate().unwrap_err().contains("exactly one value"));
        assert!(make("a", "gt", &["b"]).validate().unwrap_err().contains("integer"));
        assert!(make("a", "zzz", &["b"]).validate().unwrap_err().contains("unknown selector operator"));
        assert!(make("a", "!", &[]).validate().is_ok());
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_printing_parses_back(text in ".{0,40}") {
            if let Ok(parsed) = parse(&text) {
                let printed: Vec<String> = parsed.iter().map(ToString::to_string).collect();
                prop_assert_eq!(parse(&printed.join(",")), Ok(parsed));
            }
        }
    }
}
