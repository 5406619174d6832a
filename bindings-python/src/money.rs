//! Amounts from decimal texts, by the asset that they are of.

use fogcore::amount::{Amount, Asset};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::error::Fault;

/// The decimal text of an amount: a `str` as it is, anything else as `fogcore._money` writes it,
/// which refuses floats.
pub(crate) struct Money(pub(crate) String);

impl<'py> FromPyObject<'_, 'py> for Money {
    type Error = PyErr;

    fn extract(amount: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        static TEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        if let Ok(text) = amount.cast::<PyString>() {
            return Ok(Self(text.to_str()?.to_owned()));
        }
        let text = TEXT.import(amount.py(), "fogcore._money", "text")?;
        Ok(Self(text.call1((amount,))?.extract()?))
    }
}

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
