//! Amounts from decimal texts, by the asset that they are of.

use fogcore::amount::{Amount, Asset};

use crate::error::Fault;

/// The base units that a decimal text stands for.
pub(crate) fn read(asset: &Asset, field: &str, text: &str) -> Result<Amount, Fault> {
    asset.parse(text).map_err(|error| Fault::invalid(field, &error.to_string()))
}

/// The asset of a known code, such as `FOG`, or of `CODE:DECIMALS`.
pub(crate) fn asset(text: &str) -> Result<Asset, Fault> {
    match text.split_once(':') {
        Some((code, decimals)) => {
            let decimals = decimals.parse();
            let decimals =
                decimals.map_err(|_| Fault::invalid("asset", "decimals must be 0 to 30"))?;
            Asset::new(code, decimals).map_err(|error| Fault::from(fogcore::Error::from(error)))
        }
        None => Asset::known(text).ok_or_else(|| {
            Fault::invalid("asset", "not a known code; others are written as CODE:DECIMALS")
        }),
    }
}
