//! What clients send: chains that happen as a whole or not at all, and ids that stay failed.

use super::Book;
use crate::ledger::{Applied, LedgerError, MAX_BATCH, Transfer, TransferKind};
use crate::time::Timestamp;

impl Book {
    /// Applies up to 8,190 transfers in order and answers each.
    ///
    /// A transfer that is [linked](crate::ledger::TransferFlags::linked) is made together with the
    /// next one: they are a chain, which ends with the first that is not linked, and happens as a
    /// whole or not at all. What fails a chain is answered in its place, all others of the chain
    /// with [`LedgerError::LinkedEventFailed`].
    ///
    /// A transfer that is there already, as it is asked for, is answered as it is now. So is a
    /// chain, if all of it is; if only some of it is, that fails it ([`LedgerError::Exists`]),
    /// because the rest would happen without them.
    ///
    /// An id that failed for a [sticky](crate::ledger::ResultCode::is_sticky) reason is remembered
    /// ([`BookChanges::failed`](super::BookChanges::failed)), and can never succeed. So a batch
    /// that is sent again changes nothing, and gives the same answers: what was created exists,
    /// and what failed fails.
    ///
    /// # Errors
    /// The outer error is [`LedgerError::TooMuchData`]: nothing was looked at. An inner one says
    /// which rule refused that transfer.
    pub fn apply_batch(
        &mut self,
        transfers: &[Transfer],
        now: Timestamp,
    ) -> Result<Vec<Result<Applied, LedgerError>>, LedgerError> {
        if transfers.len() > MAX_BATCH {
            return Err(LedgerError::TooMuchData(transfers.len()));
        }
        let mut answers = Vec::with_capacity(transfers.len());
        let mut rest = transfers;
        while let Some(first) = rest.first() {
            let linked = rest.iter().take_while(|transfer| transfer.flags.linked).count();
            if linked == 0 {
                let placed = self.place_of_client(first, now);
                if let Err(error) = &placed {
                    self.remember(first.id, error, now);
                }
                answers.push(placed.map(|new| self.answer(first, new)));
                rest = &rest[1..];
            } else {
                let (chain, later) = rest.split_at(rest.len().min(linked + 1));
                self.apply_linked(chain, now, &mut answers);
                rest = later;
            }
        }
        Ok(answers)
    }

    fn apply_linked(
        &mut self,
        chain: &[Transfer],
        now: Timestamp,
        answers: &mut Vec<Result<Applied, LedgerError>>,
    ) {
        let last = chain.len() - 1;
        let is_open = chain[last].flags.linked;
        let was_there = chain.iter().all(|one| self.transfers.contains_key(&one.id));
        self.begin();
        // An open chain is tried, too: what is wrong with it besides is worth an answer.
        let tried = if is_open { &chain[..last] } else { chain };
        let refused = tried.iter().enumerate().find_map(|(place, one)| {
            let error = match self.place_of_client(one, now) {
                Ok(new) if new || was_there => return None,
                Ok(_) => LedgerError::Exists(one.id),
                Err(error) => error,
            };
            Some((place, error))
        });
        if refused.is_none() && !is_open {
            self.keep();
            answers.extend(chain.iter().map(|one| Ok(self.answer(one, !was_there))));
            return;
        }
        self.roll_back();
        if let Some((place, error)) = &refused {
            self.remember(chain[*place].id, error, now);
        }
        answers.extend(chain.iter().enumerate().map(|(place, one)| {
            Err(match &refused {
                Some((at, error)) if *at == place => error.clone(),
                _ if is_open && place == last => LedgerError::LinkedEventChainOpen(one.id),
                _ => LedgerError::LinkedEventFailed(one.id),
            })
        }));
    }

    fn place_of_client(
        &mut self,
        transfer: &Transfer,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        if matches!(transfer.kind, TransferKind::Expire { .. }) {
            return Err(LedgerError::OnlyTheLedger(transfer.id));
        }
        self.place(transfer, now)
    }

    fn answer(&self, transfer: &Transfer, new: bool) -> Applied {
        Applied { posted: self.transfers[&transfer.id].clone(), new }
    }
}

#[cfg(test)]
mod tests;
