//! Accounts, transfers and stakes. Amounts come in as decimal texts and are read by the asset of the
//! account that they are of, which only the ledger knows; they go out in base units with that asset.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use fogcore::amount::{Amount, Asset};
use fogcore::id::{AccountId, IdSource, TransferId};
use fogcore::ledger::{
    self, Applied, HoldState, Place, Posted, Purpose, TransferFilter, TransferKind,
};
use fogcore::time::{Clock, SystemClock, Timestamp};
use fogcore::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyString;
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde::Serialize;

use crate::bridge::{Bridge, Calls};
use crate::error::Fault;
use crate::fog::Fog;
use crate::json::{Item, limit, parse, read, render, render_object, text};
use crate::money::{self, Money};
use crate::process::forks;

/// What a transfer does, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    Direct { debit: AccountId, credit: AccountId, amount: String },
    Hold { debit: AccountId, credit: AccountId, amount: String },
    Post { hold: TransferId, amount: Option<String> },
    Void { hold: TransferId },
}

/// A transfer, as it was asked for.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Asked {
    id: TransferId,
    action: Action,
    linked: bool,
    timeout_seconds: u32,
}

/// A transfer to be made, for `Ledger.transfer_all`. It has an id: sent twice, it happens once.
///
/// >>> from fogcore import Transfer
/// >>> transfer = Transfer.direct("alice", "bob", "2.5")
/// >>> transfer == Transfer.direct("alice", "bob", "2.5", id=transfer.id)
/// True
#[pyclass(frozen, eq, hash, module = "fogcore")]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transfer(Arc<Asked>);

impl Transfer {
    fn new(
        id: Option<&str>,
        action: Action,
        linked: bool,
        timeout_seconds: u32,
    ) -> Result<Self, Fault> {
        Ok(Self(Arc::new(Asked { id: self::id(id)?, action, linked, timeout_seconds })))
    }
}

/// Reads the id, or makes one.
fn id(given: Option<&str>) -> Result<TransferId, Fault> {
    thread_local! {
        /// Made anew after a fork: a child that went on with its parent's would give its own
        /// transfers the ids of other ones, and they would be taken for repeated.
        static IDS: RefCell<Option<(u32, IdSource)>> = const { RefCell::new(None) };
    }
    if let Some(text) = given {
        return parse(text);
    }
    IDS.with_borrow_mut(|ids| {
        let source = match ids.take() {
            Some((at, source)) if at == forks() => source,
            _ => {
                let seed = SysRng.try_next_u64();
                IdSource::seeded(seed.map_err(|error| Error::new(ErrorKind::Unavailable, error))?)
            }
        };
        let (_, source) = ids.insert((forks(), source));
        Ok(source.transfer(SystemClock::new().now()))
    })
}

#[pymethods]
impl Transfer {
    /// Moves the amount. A `linked` one is made with the next of its batch, or not at all.
    ///
    /// >>> fee = Transfer.direct("alice", "carol", "0.1", linked=True)
    #[staticmethod]
    #[pyo3(signature = (debit, credit, amount, *, id=None, linked=false))]
    fn direct(
        debit: &str,
        credit: &str,
        amount: Money,
        id: Option<&str>,
        linked: bool,
    ) -> Result<Self, Fault> {
        let (debit, credit) = (parse(debit)?, parse(credit)?);
        Self::new(id, Action::Direct { debit, credit, amount: amount.0 }, linked, 0)
    }

    /// Reserves the amount, to be posted or voided; freed after `timeout_seconds`, if told.
    ///
    /// >>> hold = Transfer.hold("alice", "bob", 5, timeout_seconds=60)
    #[staticmethod]
    #[pyo3(signature = (debit, credit, amount, *, timeout_seconds=0, id=None, linked=false))]
    fn hold(
        debit: &str,
        credit: &str,
        amount: Money,
        timeout_seconds: i128,
        id: Option<&str>,
        linked: bool,
    ) -> Result<Self, Fault> {
        let (debit, credit) = (parse(debit)?, parse(credit)?);
        let seconds = u32::try_from(timeout_seconds).map_err(|_| {
            let why = format!("must be between 0 and {}", u32::MAX);
            Fault::invalid("timeout_seconds", &why)
        })?;
        Self::new(id, Action::Hold { debit, credit, amount: amount.0 }, linked, seconds)
    }

    /// Moves a part of a hold, or all of it, and frees the rest.
    ///
    /// >>> hold = Transfer.hold("alice", "bob", 5)
    /// >>> part = Transfer.post(hold.id, "4.5")
    #[staticmethod]
    #[pyo3(signature = (hold, amount=None, *, id=None, linked=false))]
    fn post(
        hold: &str,
        amount: Option<Money>,
        id: Option<&str>,
        linked: bool,
    ) -> Result<Self, Fault> {
        let amount = amount.map(|amount| amount.0);
        Self::new(id, Action::Post { hold: parse(hold)?, amount }, linked, 0)
    }

    /// Frees all of a hold.
    ///
    /// >>> hold = Transfer.hold("alice", "bob", 5)
    /// >>> end = Transfer.void(hold.id)
    #[staticmethod]
    #[pyo3(signature = (hold, *, id=None, linked=false))]
    fn void(hold: &str, id: Option<&str>, linked: bool) -> Result<Self, Fault> {
        Self::new(id, Action::Void { hold: parse(hold)? }, linked, 0)
    }

    /// Its id, a UUID.
    #[getter]
    fn id(&self) -> String {
        self.0.id.to_string()
    }

    fn __repr__(&self) -> String {
        let of = |name: &str, rest: String| format!("Transfer.{name}({rest}, id='{}')", self.0.id);
        match &self.0.action {
            Action::Direct { debit, credit, amount } => {
                of("direct", format!("'{debit}', '{credit}', '{amount}'"))
            }
            Action::Hold { debit, credit, amount } => {
                of("hold", format!("'{debit}', '{credit}', '{amount}'"))
            }
            Action::Post { hold, amount: Some(amount) } => {
                of("post", format!("'{hold}', '{amount}'"))
            }
            Action::Post { hold, amount: None } => of("post", format!("'{hold}'")),
            Action::Void { hold } => of("void", format!("'{hold}'")),
        }
    }
}

/// The assets of accounts, and of the holds of a batch. They never change, so what was seen once
/// holds.
struct Assets {
    ledger: fogcore::fog::Ledger,
    fogs: Asset,
    known: HashMap<AccountId, Arc<Asset>>,
    holds: HashMap<TransferId, Arc<Asset>>,
}

impl Assets {
    fn new(fog: &fogcore::Fog) -> Self {
        let fogs = fog.config().asset.clone();
        Self { ledger: fog.ledger(), fogs, known: HashMap::new(), holds: HashMap::new() }
    }

    /// What the account counts. Of one that is not there, the fog's own: the ledger will say that
    /// it is missing.
    async fn of(&mut self, account: &AccountId) -> Result<Arc<Asset>, Fault> {
        if let Some(asset) = self.known.get(account) {
            return Ok(Arc::clone(asset));
        }
        let found = self.ledger.account(account).await?;
        let asset = Arc::new(found.map_or_else(|| self.fogs.clone(), |account| account.asset));
        self.known.insert(account.clone(), Arc::clone(&asset));
        Ok(asset)
    }

    /// What a hold counts; the fog's own, if there is no such hold.
    async fn of_hold(&mut self, hold: TransferId) -> Result<Arc<Asset>, Fault> {
        if let Some(asset) = self.holds.get(&hold) {
            return Ok(Arc::clone(asset));
        }
        let posted = self.ledger.posted(hold).await?;
        match posted.as_ref().and_then(|posted| posted.transfer.accounts()) {
            Some([debit, _]) => {
                let debit = debit.clone();
                self.of(&debit).await
            }
            None => Ok(Arc::new(self.fogs.clone())),
        }
    }

    /// The transfer with its amounts read, and the asset that they are of.
    async fn read(&mut self, transfer: &Asked) -> Result<(ledger::Transfer, Arc<Asset>), Fault> {
        let (asset, kind) = match &transfer.action {
            Action::Direct { debit, credit, amount } => {
                let asset = self.of(debit).await?;
                let amount = money::read(&asset, "amount", amount)?;
                let (debit, credit) = (debit.clone(), credit.clone());
                (asset, TransferKind::Direct { debit, credit, amount })
            }
            Action::Hold { debit, credit, amount } => {
                let asset = self.of(debit).await?;
                let amount = money::read(&asset, "amount", amount)?;
                let (debit, credit) = (debit.clone(), credit.clone());
                // It may be posted further on, before the ledger knows of it.
                self.holds.insert(transfer.id, Arc::clone(&asset));
                (asset, TransferKind::Hold { debit, credit, amount })
            }
            Action::Post { hold, amount } => {
                let asset = self.of_hold(*hold).await?;
                // The ledger's word for all of it.
                let amount = amount.as_deref().map(|text| money::read(&asset, "amount", text));
                let amount = amount.transpose()?.unwrap_or(Amount::MAX);
                (asset, TransferKind::Post { hold: *hold, amount })
            }
            Action::Void { hold } => {
                (self.of_hold(*hold).await?, TransferKind::Void { hold: *hold })
            }
        };
        let mut read = ledger::Transfer::new(transfer.id, kind, Purpose::Transfer);
        if transfer.linked {
            read = read.linked();
        }
        Ok((read.expiring_after(transfer.timeout_seconds), asset))
    }

    async fn told(&mut self, posted: Posted) -> Result<Told, Fault> {
        let asset = match posted.transfer.accounts() {
            Some([debit, _]) => {
                let debit = debit.clone();
                self.of(&debit).await?
            }
            None => match posted.transfer.ends_hold() {
                Some(hold) => self.of_hold(hold).await?,
                None => Arc::new(self.fogs.clone()),
            },
        };
        Ok(Told::of(posted, true, &asset))
    }
}

/// A transfer that was applied, as Python hears of it.
#[derive(Serialize)]
struct Told {
    id: TransferId,
    asset: Asset,
    debit: Option<AccountId>,
    credit: Option<AccountId>,
    hold: Option<TransferId>,
    purpose: Purpose,
    amount: Option<Amount>,
    at: Timestamp,
    hold_state: Option<HoldState>,
    new: bool,
}

impl Told {
    fn of(posted: Posted, new: bool, asset: &Asset) -> Self {
        let transfer = posted.transfer;
        let (debit, credit) = transfer.accounts().map(|[d, c]| (d.clone(), c.clone())).unzip();
        Self {
            id: transfer.id,
            asset: asset.clone(),
            debit,
            credit,
            hold: transfer.ends_hold(),
            purpose: transfer.purpose,
            amount: transfer.amount(),
            at: posted.at,
            hold_state: posted.hold,
            new,
        }
    }
}

/// The answers to a batch, made into Python's when they are looked at.
#[pyclass(frozen, module = "fogcore._fogcore")]
pub(crate) struct Answers {
    answers: Vec<(TransferId, Arc<Asset>, fogcore::Result<Applied>)>,
}

#[pymethods]
impl Answers {
    fn __len__(&self) -> usize {
        self.answers.len()
    }

    /// The answer at a place.
    fn at<'py>(&self, py: Python<'py>, place: usize) -> Result<Bound<'py, PyString>, Fault> {
        let none = || Fault::internal("there is no answer at that place");
        let (id, asset, answer) = self.answers.get(place).ok_or_else(none)?;
        let told = answer.clone().map(|one| Told::of(one.posted, one.new, asset));
        Ok(PyString::new(py, &text(&(id, Item::<Told>::of(told)))?))
    }

    /// The places of those that were refused.
    fn refused(&self) -> Vec<usize> {
        let refused = |(place, one): (usize, &(_, _, fogcore::Result<Applied>))| {
            one.2.is_err().then_some(place)
        };
        self.answers.iter().enumerate().filter_map(refused).collect()
    }
}

/// The ledger of a fog.
#[pyclass(frozen, module = "fogcore._fogcore")]
pub(crate) struct Ledger {
    fog: Py<Fog>,
}

impl Ledger {
    fn core(&self) -> Result<(fogcore::Fog, &Calls), Fault> {
        let fog = self.fog.get();
        Ok((fog.core()?, fog.calls()?))
    }

    /// An amount of the fog's own asset.
    fn amount(fog: &fogcore::Fog, text: &str) -> Result<Amount, Fault> {
        money::read(&fog.config().asset, "amount", text)
    }
}

#[pymethods]
impl Ledger {
    #[new]
    fn new(fog: Py<Fog>) -> Self {
        Self { fog }
    }

    #[pyo3(signature = (bridge, account, asset, may_owe, history))]
    fn open_account(
        &self,
        bridge: &Bridge,
        account: &str,
        asset: Option<&str>,
        may_owe: bool,
        history: bool,
    ) -> Result<u64, Fault> {
        let (fog, calls) = self.core()?;
        let asset =
            asset.map(money::asset).transpose()?.unwrap_or_else(|| fog.config().asset.clone());
        let account = ledger::Account::new(parse(account)?, asset);
        let account = if may_owe { account } else { account.limited_to_credits() };
        let account = if history { account.with_history() } else { account };
        let open = async move { fog.ledger().open_account(account).await.map(AccountNow::of) };
        calls.finish(bridge, open, render)
    }

    fn account(&self, bridge: &Bridge, account: &str) -> Result<u64, Fault> {
        let (fog, calls) = self.core()?;
        let account = parse::<AccountId>(account)?;
        let look = async move {
            fog.ledger().account(&account).await.map(|found| found.map(AccountNow::of))
        };
        calls.wait(bridge, look, render)
    }

    fn accounts(
        &self,
        bridge: &Bridge,
        filter: &str,
        after: Option<&str>,
        count: u32,
    ) -> Result<u64, Fault> {
        let (fog, calls) = self.core()?;
        let (filter, after) = (read(filter)?, after.map(parse::<AccountId>).transpose()?);
        let look = async move {
            let found = fog.ledger().accounts(&filter, after.as_ref(), limit(count)).await?;
            Ok::<_, Fault>(found.into_iter().map(AccountNow::of).collect::<Vec<_>>())
        };
        calls.wait(bridge, look, render)
    }

    fn mint(&self, bridge: &Bridge, account: &str, amount: &str) -> Result<u64, Fault> {
        let (fog, calls) = self.core()?;
        let (account, amount) = (parse::<AccountId>(account)?, Self::amount(&fog, amount)?);
        let mint = async move {
            let posted = fog.ledger().mint(&account, amount).await?;
            Ok::<_, Fault>(Told::of(posted, true, &fog.config().asset))
        };
        calls.finish(bridge, mint, render)
    }

    fn transfer_all(
        &self,
        bridge: &Bridge,
        transfers: Vec<Bound<'_, Transfer>>,
    ) -> Result<u64, Fault> {
        let (fog, calls) = self.core()?;
        let transfers: Vec<_> = transfers.iter().map(|one| Arc::clone(&one.get().0)).collect();
        let apply = async move {
            let mut assets = Assets::new(&fog);
            let mut batch = Vec::with_capacity(transfers.len());
            let mut told = Vec::with_capacity(transfers.len());
            for (place, transfer) in transfers.iter().enumerate() {
                let read = assets.read(transfer).await;
                let (transfer, asset) = read.map_err(|fault| match transfers.len() {
                    1 => fault,
                    _ => fault.of_item("transfers", place),
                })?;
                told.push((transfer.id, asset));
                batch.push(transfer);
            }
            let answers = fog.ledger().transfer_all(batch).await?;
            let answers = told.into_iter().zip(answers);
            let answers = answers.map(|((id, asset), answer)| (id, asset, answer));
            Ok::<_, Fault>(Answers { answers: answers.collect() })
        };
        calls.finish(bridge, apply, render_object)
    }

    /// A transfer that was applied, if it was.
    fn posted(&self, bridge: &Bridge, transfer: &str) -> Result<u64, Fault> {
        let (fog, calls) = self.core()?;
        let transfer = parse::<TransferId>(transfer)?;
        let look = async move {
            match fog.ledger().posted(transfer).await? {
                Some(posted) => Assets::new(&fog).told(posted).await.map(Some),
                None => Ok(None),
            }
        };
        calls.wait(bridge, look, render)
    }

    /// A page of the journal: the places and the transfers.
    fn transfers(
        &self,
        bridge: &Bridge,
        filter: &str,
        after: Option<u64>,
        count: u32,
    ) -> Result<u64, Fault> {
        let (fog, calls) = self.core()?;
        let filter: TransferFilter = read(filter)?;
        let look = async move {
            let after = after.map(Place::from_number);
            let found = fog.ledger().transfers(&filter, after, limit(count)).await?;
            let mut assets = Assets::new(&fog);
            let mut told = Vec::with_capacity(found.len());
            for entry in found {
                told.push((entry.place, assets.told(entry.posted).await?));
            }
            Ok::<_, Fault>(told)
        };
        calls.wait(bridge, look, render)
    }

    fn trial_balance(&self, bridge: &Bridge) -> Result<u64, Fault> {
        let (fog, calls) = self.core()?;
        let look = async move {
            let sums = fog.ledger().trial_balance().await?;
            Ok::<_, Fault>((sums.is_balanced(), sums))
        };
        calls.wait(bridge, look, render)
    }

    /// Proves that the books are as they were written.
    fn verify(&self, bridge: &Bridge) -> Result<u64, Fault> {
        let (fog, calls) = self.core()?;
        calls.wait(bridge, async move { fog.ledger().verify(&[]).await }, render)
    }

    fn stake_of(&self, bridge: &Bridge, holder: &str) -> Result<u64, Fault> {
        let (fog, calls) = self.core()?;
        let holder = parse::<AccountId>(holder)?;
        calls.wait(bridge, async move { fog.economy().stake_of(&holder).await }, render)
    }

    #[pyo3(signature = (bridge, holder, amount, id=None))]
    fn stake(
        &self,
        bridge: &Bridge,
        holder: &str,
        amount: &str,
        id: Option<&str>,
    ) -> Result<u64, Fault> {
        let (fog, calls) = self.core()?;
        let (holder, amount) = (parse::<AccountId>(holder)?, Self::amount(&fog, amount)?);
        let id = self::id(id)?;
        let stake = async move { fog.economy().stake(id, &holder, amount).await };
        calls.finish(bridge, stake, render)
    }

    #[pyo3(signature = (bridge, holder, amount, id=None))]
    fn unstake(
        &self,
        bridge: &Bridge,
        holder: &str,
        amount: &str,
        id: Option<&str>,
    ) -> Result<u64, Fault> {
        let (fog, calls) = self.core()?;
        let (holder, amount) = (parse::<AccountId>(holder)?, Self::amount(&fog, amount)?);
        let id = self::id(id)?;
        let unstake = async move { fog.economy().unstake(id, &holder, amount).await };
        calls.finish(bridge, unstake, render)
    }

    #[pyo3(signature = (bridge, holder, id=None))]
    fn withdraw(&self, bridge: &Bridge, holder: &str, id: Option<&str>) -> Result<u64, Fault> {
        let (fog, calls) = self.core()?;
        let (holder, id) = (parse::<AccountId>(holder)?, self::id(id)?);
        let withdraw = async move {
            let posted = fog.economy().withdraw(id, &holder).await?;
            Ok::<_, Fault>(Told::of(posted, true, &fog.config().asset))
        };
        calls.finish(bridge, withdraw, render)
    }
}

/// An account with what can be spent.
#[derive(Serialize)]
struct AccountNow {
    available: Amount,
    owing: Amount,
    #[serde(flatten)]
    account: ledger::Account,
}

impl AccountNow {
    fn of(account: ledger::Account) -> Self {
        Self { available: account.available(), owing: account.owing(), account }
    }
}
