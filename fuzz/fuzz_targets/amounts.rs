//! The amount parser: whatever it accepts means exactly what was written.

#![no_main]

use fogcore::amount::{Amount, Asset};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (scale, text) = input;
    let Ok(asset) = Asset::new("X", scale % 31) else { return };
    if let Ok(amount) = asset.parse(text) {
        assert!(!text.starts_with(['-', '+', ' ']));
        let again = asset.decimal(amount);
        assert_eq!(asset.parse(&again), Ok(amount), "{text:?} became {again}");
    }
    if let Ok(amount) = text.parse::<Amount>() {
        assert_eq!(amount.to_string().parse(), Ok(amount));
    }
    let from_json: Result<Amount, _> = serde_json::from_str(text);
    if let Ok(amount) = from_json {
        let json = serde_json::to_string(&amount).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Amount>(&json).ok(), Some(amount));
    }
});
