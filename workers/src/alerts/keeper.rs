//! The task of a node that looks and tells.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{
    alert::{Answered, NoAddress, RETRY, Space},
    causes::with_causes,
    event::{
        Actor, Event,
        alert::{Delivered, Failed, Rescheduled},
    },
    id::AlertId,
    log::{Commit, CommitError, Committer, NewEvent, Node, Read, Rejected, Tail, alone, no_longer_alone},
};
use picloud_projections::{
    alerts::{self, Owed, Told},
    setup::{AlertChannel, LiveSetup},
    views::Views,
};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    message::Message,
    messenger::Messenger,
    observe::{Observed, Observer, Steady},
    plan::{Book, Plan},
};

/// What comes and goes within this time is not told.
pub const STEADY: Duration = Duration::from_secs(15);

/// How often a node looks, in memory alone, whether something is wrong with it, and asks whether it is the one that tells.
const TICK: Duration = Duration::from_secs(3);

/// What happens together is looked at together.
const GATHER: Duration = Duration::from_millis(100);

/// How many messages are on their way at once: a receiver that does not answer holds one of them.
const MOST_SENDING: usize = 8;

/// Looking is quick; a database that holds it up must not hold up the node's end.
const LOOKING: [(&str, &str); 2] = [("statement_timeout", "10s"), ("application_name", "picloud alerts")];

/// What a node's alerts lean on.
pub struct AlertParts {
    /// For a connection that holds the lock of who tells: it must be one of its own.
    pub direct: PgConnectOptions,
    /// Where alerts go.
    pub committer: Committer,
    /// By what right.
    pub node: Node,
    /// What the node's machine is called.
    pub name: String,
    /// Which channels there are.
    pub setup: LiveSetup,
    /// How well the node hears.
    pub tail: Tail,
    /// How the views stand.
    pub views: Views,
    /// How much room there is, once that was measured.
    pub disk: watch::Receiver<Option<Space>>,
    /// Sends.
    pub messenger: Messenger,
    /// So long something has to be well, or a node unheard of, until that is said: [`STEADY`], but where nobody wants to wait.
    pub steady: Duration,
}

/// Looks for what is wrong, and tells.
pub struct Alerts {
    direct: PgConnectOptions,
    committer: Committer,
    node: Node,
    setup: LiveSetup,
    messenger: Messenger,
    observer: Observer,
    sending: JoinSet<(Told, Owed, Result<Answered, NoAddress>)>,
    /// Which alert each of the tasks sends.
    on_their_way: HashMap<Id, AlertId>,
}

/// Why there was no looking.
#[derive(Debug, thiserror::Error)]
enum AlertError {
    #[error("failed to ask the database")]
    Database(#[from] sqlx::Error),
    #[error("failed to append to the log")]
    Commit(#[from] CommitError),
}

type Sent = Result<(Id, (Told, Owed, Result<Answered, NoAddress>)), JoinError>;

impl Alerts {
    /// For one node.
    #[must_use]
    pub fn new(parts: AlertParts) -> Self {
        let AlertParts { direct, committer, node, name, setup, tail, views, disk, messenger, steady } = parts;
        Self {
            direct: direct.options(LOOKING),
            committer,
            node,
            setup,
            messenger,
            observer: Observer { node: name, tail, views, disk, steady: Steady::new(steady) },
            sending: JoinSet::new(),
            on_their_way: HashMap::new(),
        }
    }

    /// Until it is told to stop. What is on its way then is sent again after the next start. While there is nobody to tell it
    /// does nothing, and holds no connection.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.setup.watch();
        while !stop.is_cancelled() {
            if self.channels().is_empty() {
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    () = stop.cancelled() => return,
                }
                continue;
            }
            match self.keep(&mut changes, &stop).await {
                // The setup goes with the node.
                Ok(()) if changes.has_changed().is_err() => return,
                Ok(()) => {}
                Err(error) => {
                    warn!(error = with_causes(&error), "Failed to see to alerts: trying again");
                    tokio::select! {
                        () = sleep(TICK) => {}
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }

    /// Those that are to be told.
    fn channels(&self) -> Vec<Arc<AlertChannel>> {
        self.setup.get().alert_channels.values().filter(|channel| channel.is_enabled).map(Arc::clone).collect()
    }

    /// Until there is no channel any more, or it is told to stop, or the connection is lost that holds the lock.
    async fn keep(
        &mut self,
        changes: &mut watch::Receiver<picloud_core::log::Position>,
        stop: &CancellationToken,
    ) -> Result<(), AlertError> {
        let mut connection = PgConnection::connect_with(&self.direct).await?;
        let mut tells = alone(&mut connection, "alerts").await?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.observer.steady.forget();
        let mut looked_at: Option<Observed> = None;
        let mut due = None;
        loop {
            let seen = self.observer.look(tells);
            if looked_at.as_ref() != Some(&seen) {
                // What comes while it looks is looked at again.
                changes.mark_unchanged();
                due = self.look(&mut connection, tells, &seen).await?;
                looked_at = Some(seen);
            }
            tokio::select! {
                () = stop.cancelled() => {
                    self.sending.shutdown().await;
                    no_longer_alone(connection).await?;
                    return Ok(());
                }
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    if self.channels().is_empty() {
                        no_longer_alone(connection).await?;
                        return Ok(());
                    }
                    sleep(GATHER).await;
                    // Of all that happens, the others tell only what is wrong with themselves.
                    if tells || looked_at.as_ref().is_some_and(|seen| !seen.wrong.is_empty()) {
                        looked_at = None;
                    }
                }
                Some(sent) = self.sending.join_next_with_id() => {
                    self.settle(&mut connection, sent).await?;
                    looked_at = None;
                }
                () = at(due) => looked_at = None,
                _ = tick.tick() => {
                    if !tells && alone(&mut connection, "alerts").await? {
                        tells = true;
                        looked_at = None;
                    }
                }
            }
        }
    }

    /// Says what is to be said; when to look again.
    async fn look(
        &mut self,
        connection: &mut PgConnection,
        tells: bool,
        seen: &Observed,
    ) -> Result<Option<Instant>, AlertError> {
        let (told, now) = alerts::told(&mut *connection).await?;
        let looked_at = Instant::now();
        let channels = self.channels();
        let book = Book::new(&told, &channels, now);
        let mut plan = Plan::default();
        book.lasting(seen, &mut plan);
        if tells {
            what_happened(connection, &book, &channels, &mut plan).await?;
        }
        let events = std::mem::take(&mut plan.events);
        for (event, read) in events {
            self.say(event, read).await?;
        }
        if tells {
            self.send_due(&told, now, &mut plan);
        }
        let until = |at: DateTime<Utc>| (at - now + TimeDelta::milliseconds(1)).to_std().unwrap_or(Duration::ZERO);
        Ok(plan.next.map(|at| looked_at + until(at)))
    }

    /// Appends what was decided, unless somebody else has said something of the matter since.
    async fn say(&self, event: Event, read: Read) -> Result<(), AlertError> {
        let (kind, alert) = (event.kind(), event.subject());
        match self.append(event, read).await {
            Ok(()) => {
                info!(event.kind = kind, alert.id = alert, "Something is wrong, or over: a channel is to be told");
            }
            Err(CommitError::Rejected(Rejected::Stale)) => debug!("Another node has said it, or a channel was changed"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn append(&self, event: Event, read: Read) -> Result<(), CommitError> {
        let event = NewEvent::new(None, &Actor::SYSTEM, event);
        let commit = Commit { reads: vec![read], ..Commit::new(self.node.authority(), vec![event]) };
        self.committer.commit(commit).await.map(drop)
    }

    /// Sends what is due. While the outbox is paused, as after a restore, nothing that is owed leaves the instance.
    fn send_due(&mut self, told: &[Told], now: DateTime<Utc>, plan: &mut Plan) {
        let setup = self.setup.get();
        if setup.outbox.is_paused {
            return;
        }
        let sending: HashSet<AlertId> = self.on_their_way.values().copied().collect();
        for told in told.iter().filter(|told| !sending.contains(&told.alert)) {
            let channel = setup.alert_channels.get(&told.channel).filter(|channel| channel.is_enabled);
            let (Some(owed), Some(channel)) = (told.owed, channel) else { continue };
            if owed.due_at > now {
                plan.look_again(owed.due_at);
                continue;
            }
            if self.on_their_way.len() == MOST_SENDING {
                // The end of one is looked at.
                return;
            }
            let (told, messenger, secret) = (told.clone(), self.messenger.clone(), channel.secret);
            let message = Message::of(&told, owed.notice, &setup, messenger.instance());
            let alert = told.alert;
            let task = self.sending.spawn(async move {
                let answered = messenger.send(secret, message).await;
                (told, owed, answered)
            });
            self.on_their_way.insert(task.id(), alert);
        }
    }

    /// Says what became of a message.
    async fn settle(&mut self, connection: &mut PgConnection, sent: Sent) -> Result<(), AlertError> {
        let (told, owed, answered) = match sent {
            Ok((id, sent)) => {
                self.on_their_way.remove(&id);
                sent
            }
            Err(panicked) => {
                self.on_their_way.remove(&panicked.id());
                error!(%panicked, "Sending an alert brought down its task");
                return Ok(());
            }
        };
        loop {
            let (all, now) = alerts::told(&mut *connection).await?;
            // Gone with its channel, or said by another node that took this one for gone.
            let Some(still) = all.into_iter().find(|now| now.alert == told.alert && now.owed == Some(owed)) else {
                return Ok(());
            };
            let event = ended(&still, owed, &answered, now);
            let Told { channel, condition, subject, position: version, .. } = still;
            match self.append(event, Read::Alert { channel, condition, subject, version }).await {
                // It was over meanwhile: that it was told is said all the same.
                Err(CommitError::Rejected(Rejected::Stale)) => {}
                appended => return Ok(appended?),
            }
        }
    }
}

/// Raises what happens: letters, a backup that failed.
async fn what_happened(
    connection: &mut PgConnection,
    book: &Book<'_>,
    channels: &[Arc<AlertChannel>],
    plan: &mut Plan,
) -> Result<(), sqlx::Error> {
    let apps = alerts::apps_with_letters(&mut *connection).await?;
    let asked = book.may_hear_of_letters(&apps, plan);
    let letters = alerts::new_letters(&mut *connection, &asked).await?;
    let backup = alerts::failed_backup(connection).await?;
    for channel in channels {
        for (_, matter) in letters.iter().filter(|(name, _)| *name == channel.name) {
            book.happens(channel, matter, plan);
        }
        if let Some(backup) = &backup
            && backup.up_to().is_some_and(|at| at > book.since(channel, backup.condition(), &backup.subject()))
        {
            book.happens(channel, backup, plan);
        }
    }
    Ok(())
}

/// What is to be said of a message that was sent.
fn ended(told: &Told, owed: Owed, answered: &Result<Answered, NoAddress>, now: DateTime<Utc>) -> Event {
    let (alert, channel, notice) = (told.alert, told.channel.clone(), owed.notice);
    let attempts = owed.attempts.saturating_add(1);
    let (error, is_final) = match answered {
        Ok(Answered { status: Some(status), error: None, refused, .. }) => {
            return Delivered { alert, channel, notice, attempts, status: *status, refused: refused.clone() }.into();
        }
        Ok(Answered { error, is_final, .. }) => (error.clone().unwrap_or_default(), *is_final),
        Err(no_address) => (no_address.to_string(), false),
    };
    if is_final || attempts >= RETRY.max_attempts {
        warn!(alert.id = %alert, alert.channel = channel, error, "Gave up telling an alert");
        return Failed { alert, channel, notice, attempts, error }.into();
    }
    let pause = RETRY.pause(attempts, rand::random());
    let due_at = now + TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX);
    Rescheduled { alert, channel, notice, attempt: attempts, error, due_at }.into()
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
