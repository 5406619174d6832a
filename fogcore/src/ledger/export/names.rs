//! Names that both tools take, and the way back.

use crate::amount::Asset;
use crate::id::AccountId;

const CLIENTS: &str = "Liabilities:Accounts:N";
const OWN: &str = "Equity:Fog:N";
const RESERVED: &str = "fog:";

/// The name of an account: those of the fog's own are equity, all others liabilities.
pub(super) fn account(id: &AccountId) -> String {
    let (mut name, rest) = match id.as_str().strip_prefix(RESERVED) {
        Some(rest) => (OWN.to_owned(), rest),
        None => (CLIENTS.to_owned(), id.as_str()),
    };
    for byte in rest.bytes() {
        if byte.is_ascii_alphanumeric() {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("-{byte:02X}"));
        }
    }
    name
}

/// The account that has this name in a file; none if it is not a name of one.
#[must_use]
pub fn account_of(name: &str) -> Option<AccountId> {
    let (prefix, encoded) = match name.strip_prefix(OWN) {
        Some(encoded) => (RESERVED, encoded),
        None => ("", name.strip_prefix(CLIENTS)?),
    };
    let mut bytes = prefix.as_bytes().to_vec();
    let mut rest = encoded.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'-' {
            bytes.push(*first);
            continue;
        }
        let (digits, more) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = more;
    }
    let id: AccountId = std::str::from_utf8(&bytes).ok()?.parse().ok()?;
    (account(&id) == name).then_some(id)
}

/// The commodity of an asset for beancount, which wants at least two characters, the first a
/// capital letter, and no small ones. The code itself, if it is such and could not be taken for
/// what is made of another; else `X-`, the code in capitals, and the places of small letters as
/// the bits of a hex number.
pub(super) fn commodity(asset: &Asset) -> String {
    let code = asset.code();
    let plain = code.len() > 1
        && code.starts_with(|first: char| first.is_ascii_uppercase())
        && !code.contains(|c: char| c.is_ascii_lowercase());
    if plain {
        return code.to_owned();
    }
    let small = code
        .bytes()
        .rev()
        .fold(0_u16, |bits, byte| bits << 1 | u16::from(byte.is_ascii_lowercase()));
    format!("X-{}-{small:04X}", code.to_ascii_uppercase())
}

/// The code of the asset that has this commodity in a file for beancount.
#[must_use]
pub fn asset_code_of(commodity: &str) -> Option<String> {
    let Some(made) = commodity.strip_prefix("X-") else {
        return commodity.bytes().all(|b| b.is_ascii_alphanumeric()).then(|| commodity.to_owned());
    };
    let (code, bits) = made.rsplit_once('-')?;
    let bits = u16::from_str_radix(bits, 16).ok()?;
    let letter = |(place, c): (usize, char)| {
        if bits >> place & 1 == 1 { c.to_ascii_lowercase() } else { c }
    };
    (code.len() <= 16).then(|| code.chars().enumerate().map(letter).collect())
}

/// A text within quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_safe_and_tell_own_accounts_apart() {
        for (id, expected) in [
            ("alice", "Liabilities:Accounts:Nalice"),
            ("fog:mint", "Equity:Fog:Nmint"),
            ("fog:stake:a", "Equity:Fog:Nstake-3Aa"),
            ("a\";--", "Liabilities:Accounts:Na-22-3B-2D-2D"),
            ("ü", "Liabilities:Accounts:N-C3-BC"),
        ] {
            assert_eq!(account(&id.parse().unwrap()), expected);
        }
        for wrong in ["", "Assets:Nalice", "Liabilities:Accounts:Na-2", "Liabilities:Accounts:N-61"]
        {
            assert_eq!(account_of(wrong), None, "{wrong}");
        }
        assert_eq!(quoted(r#"a"\b"#), r#""a\"\\b""#);
    }

    proptest! {
        #[test]
        fn names_lead_back_to_their_ids(id in "(fog:)?[\\PC&&[^ ]]{1,40}") {
            if let Ok(id) = id.parse::<AccountId>() {
                let name = account(&id);
                prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b":-".contains(&b)));
                prop_assert_eq!(account_of(&name), Some(id));
            }
        }

        #[test]
        fn commodities_are_valid_apart_and_lead_back(
            codes in prop::collection::btree_set("[A-Za-z0-9]{1,16}", 1..8),
        ) {
            let mut seen = BTreeSet::new();
            for code in codes {
                let made = commodity(&Asset::new(&code, 2).unwrap());
                prop_assert!((2..=24).contains(&made.len()));
                prop_assert!(made.starts_with(|c: char| c.is_ascii_uppercase()));
                prop_assert!(made.ends_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit()));
                prop_assert_eq!(asset_code_of(&made), Some(code));
                prop_assert!(seen.insert(made));
            }
        }
    }
}
