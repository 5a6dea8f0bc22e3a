//! The usual form of a publication, which nearly all of them have: `PUB subject [reply] size` in upper case with single
//! blanks, the line end CR LF, all of it there. Read in one go over the line. A shortcut and nothing else: what it reads
//! it reads as [`parse`](super::parser::parse) does, and everything that is not quite so is left to that.

use super::parser::{Limits, Publish, Sizes};

/// Reads the publication at the start of `input`, and gives the number of bytes it took. `None`: it has another form, is
/// not complete, or is something else.
#[inline]
pub(super) fn publication<'a>(input: &'a [u8], limits: &Limits) -> Option<(Publish<'a>, usize)> {
    const WORD: &[u8] = b"PUB ";
    let line = input.strip_prefix(WORD)?;
    // Arguments, CR and LF; what is longer is not worth a look here.
    let line = line.get(..line.len().min(limits.control_line + 2))?;
    // Where the arguments before the last one end.
    let (mut first, mut second) = (0, 0);
    let mut size = 0_usize;
    let mut digits_from = 0;
    let mut at = 0;
    loop {
        match *line.get(at)? {
            b' ' => {
                if at == digits_from || second > 0 {
                    return None;
                }
                (first, second) = if first == 0 { (at, 0) } else { (first, at) };
                digits_from = at + 1;
            }
            b'\r' => break,
            b'\n' | b'\t' => return None,
            _ => {}
        }
        at += 1;
    }
    let digits = line.get(digits_from..at)?;
    if first == 0 || digits.is_empty() || digits.len() > 9 || at > limits.control_line {
        return None;
    }
    for digit in digits {
        size = size * 10 + usize::from(digit.wrapping_sub(b'0'));
        if !digit.is_ascii_digit() {
            return None;
        }
    }
    let body_from = WORD.len() + at + 2;
    let end = body_from + size;
    if size > limits.payload || line.get(at + 1) != Some(&b'\n') || input.get(end..end + 2)? != b"\r\n" {
        return None;
    }
    let reply = if second > 0 { Some(line.get(first + 1..second)?) } else { None };
    let publish = Publish {
        subject: line.get(..first)?,
        reply,
        headers: None,
        body: input.get(body_from..end)?,
        sizes: Sizes { headers: &[], total: digits },
        forward: Some(input.get(WORD.len() + first + 1..end + 2)?),
        frame: input.get(WORD.len()..end)?,
        reply_at: first + 1,
    };
    Some((publish, end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::parser::{Op, Step, parse_any};
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { control_line: 24, payload: 12, connect_only: false, headers: true };

    fn agrees(input: &[u8]) -> Result<bool, TestCaseError> {
        let Some((publish, len)) = publication(input, &LIMITS) else { return Ok(false) };
        prop_assert_eq!(Step::Op(Op::Publish(publish), len), parse_any(input, &LIMITS));
        Ok(true)
    }

    #[test]
    fn it_takes_the_usual_form_and_no_other() {
        for usual in ["PUB a 2\r\nhi\r\n", "PUB a.b _INBOX.1 0002\r\nhi\r\nPING\r\n", "PUB a 0\r\n\r\n"] {
            assert!(agrees(usual.as_bytes()).unwrap(), "{usual:?}");
        }
        for other in [
            "",
            "PUB",
            "pub a 2\r\nhi\r\n",
            "PUB  a 2\r\nhi\r\n",
            "PUB a  2\r\nhi\r\n",
            "PUB a 2 \r\nhi\r\n",
            "PUB a 2\nhi\r\n",
            "PUB a\t2\r\nhi\r\n",
            "PUB a 2\r\nhi\r",
            "PUB a 2\r\nhi!!",
            "PUB a b c 2\r\nhi\r\n",
            "PUB a x\r\nhi\r\n",
            "PUB 2\r\nhi\r\n",
            "PUB a 13\r\nxxxxxxxxxxxxx\r\n",
            "PUB a \r\nhi\r\n",
            "PUB a\rb 2\r\nhi\r\n",
            "PUB a 0000000002\r\nhi\r\n",
            "PUB aaaaaaaaaaaaaaaaaaaaaaaa 2\r\nhi\r\n",
        ] {
            assert!(!agrees(other.as_bytes()).unwrap(), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn it_never_says_something_else(input in "PUB [ab. \t\r\n0-3]{0,28}(\r\n)?[x\r\n]{0,14}(\r\n)?") {
            agrees(input.as_bytes())?;
        }

        #[test]
        fn also_near_the_usual_form(
            subject in "[a-c.]{1,12}", reply in " ?[a-c.]{0,8}", blank in "[ \t]{1,2}", size in 0usize..14, end in "\r?\n", more in "[x\r\n]{0,4}",
        ) {
            let input = format!("PUB {subject}{reply}{blank}{size}{end}{}\r\n{more}", "x".repeat(size));
            agrees(input.as_bytes())?;
        }
    }
}
