//! One task per file, paid by the customer, and submitted only once however often it is tried.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fogcore::amount::{Amount, Asset};
use fogcore::id::TaskId;
use fogcore::ledger::{Account, LedgerError};
use fogcore::scheduler::{Backoff, Submitted, TaskSpec};
use fogcore::{Error, Fog};

use crate::files::FoundFile;
use crate::shown;
use crate::store::{customer, kind};

/// How many tasks are submitted in one durable step.
pub(crate) const BATCH: usize = 500;

/// How often money is made for a batch: others may spend what was made for this one.
const TRIES: u32 = 5;

/// What became of a file.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) path: PathBuf,
    pub(crate) task: TaskId,
    /// Whether this run was the first to submit it.
    pub(crate) new: bool,
}

/// The most that one file may cost; what it does not cost is given back.
fn limit() -> Result<Amount> {
    Ok(Asset::FOG.parse("1").map_err(Error::from)?)
}

fn spec(file: &FoundFile) -> Result<TaskSpec> {
    let spec = TaskSpec::new(kind()?).paid_by(customer()?, limit()?);
    Ok(TaskSpec {
        max_attempts: 10,
        backoff: Backoff {
            initial: Duration::from_millis(50),
            max: Duration::from_secs(1),
            ..Backoff::default()
        },
        ..spec.named(file.key().parse()?)
    })
}

/// Submits up to [`BATCH`] files, and makes the money that is missing for those that are new.
pub(crate) async fn submit(fog: &Fog, files: &[FoundFile]) -> Result<Vec<Job>> {
    let mut jobs = Vec::with_capacity(files.len());
    let mut left: Vec<_> = files.iter().collect();
    for _ in 0..TRIES {
        let mut unpaid = Vec::new();
        let payload = |file: &FoundFile| file.absolute.as_os_str().as_bytes().to_vec().into();
        let submissions = left.iter().map(|file| Ok((spec(file)?, payload(file))));
        let answers = fog.submit_all(submissions.collect::<Result<_>>()?).await?;
        for (file, answer) in left.into_iter().zip(answers) {
            match answer {
                Ok(Submitted { task, new }) => {
                    jobs.push(Job { path: file.path.clone(), task: task.id, new });
                }
                Err(error) if is_short_of_money(&error) => unpaid.push(file),
                Err(error) => {
                    return Err(error).context(format!("cannot submit {}", shown(&file.path)));
                }
            }
        }
        if unpaid.is_empty() {
            return Ok(jobs);
        }
        fund(fog, unpaid.len()).await?;
        left = unpaid;
    }
    bail!("somebody else spends the customer's money as fast as it is made")
}

/// Opens the account that pays; without it, nothing can be reserved on it.
pub(crate) async fn open_account(fog: &Fog) -> Result<()> {
    let account = Account::new(customer()?, Asset::FOG).limited_to_credits();
    fog.ledger().open_account(account).await?;
    Ok(())
}

/// Gives the customer what is missing for `tasks` budgets.
async fn fund(fog: &Fog, tasks: usize) -> Result<()> {
    let customer = customer()?;
    let account = fog.ledger().account(&customer).await?;
    let available = account.map_or(Amount::ZERO, |account| account.available());
    let needed = limit()?.scaled(tasks as u64, 1).map_err(Error::from)?;
    // Nothing is missing if somebody's budget was given back meanwhile.
    if let Ok(missing) = needed.checked_sub(available)
        && !missing.is_zero()
    {
        fog.ledger().mint(&customer, missing).await?;
    }
    Ok(())
}

fn is_short_of_money(error: &Error) -> bool {
    matches!(error.downcast_ref::<LedgerError>(), Some(LedgerError::ExceedsCredits { .. }))
}
