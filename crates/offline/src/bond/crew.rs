//! Threads that read ahead, so that all processors read and unpack while one of them merges and writes.
//!
//! Only regular files are read ahead. What may let its reader wait is read when nothing can be done without it.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use super::intake::Intake;
use super::piece::Piece;

/// The most threads that read.
const THREADS_MAX: usize = 8;

/// An input to be read on, and where it goes then.
struct Job {
    intake: Box<Intake>,
    reply: Sender<Done>,
}

/// An input that has been read on, and its next piece.
pub(super) struct Done {
    intake: Box<Intake>,
    piece: Option<Piece>,
}

/// The threads.
pub(super) struct Crew {
    jobs: Sender<Job>,
}

impl Crew {
    /// Starts as many threads as there are processors, and no more than there are files to read.
    pub(super) fn new<'scope>(scope: &'scope Scope<'scope, '_>, files: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..files.min(processors).min(THREADS_MAX) {
            let waiting = Arc::clone(&waiting);
            scope.spawn(move || work(&waiting));
        }
        Self { jobs }
    }
}

/// Reads what it is told to, until nobody can tell it any more.
fn work(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { mut intake, reply }) = job else { return };
        let piece = intake.next();
        // Where nobody waits for it any more, the bond has been given up.
        let _ = reply.send(Done { intake, piece });
    }
}

/// One input, as the merge sees it.
pub(super) enum Lane {
    /// Read ahead by the crew: the thread that has it sends it here.
    Ahead(Receiver<Done>),
    /// Read when it must be.
    Here(Box<Intake>),
    /// It has ended, or a thread was lost.
    Ended(Option<Box<Intake>>),
}

impl Lane {
    /// Hands an input to the crew.
    pub(super) fn ahead(intake: Intake, crew: &Crew) -> Self {
        Self::Ahead(send(crew, Box::new(intake)))
    }

    /// Whether asking for the next piece may take long.
    pub(super) fn may_wait(&self) -> bool {
        matches!(self, Self::Here(_))
    }

    /// The next piece, for which the `spare` ones are no longer needed. `look` is shown the input.
    pub(super) fn next(
        &mut self,
        crew: &Crew,
        spare: impl IntoIterator<Item = Piece>,
        look: impl FnOnce(&Intake),
    ) -> Option<Piece> {
        match self {
            Self::Ahead(done) => {
                let Ok(Done { mut intake, piece }) = done.recv() else {
                    *self = Self::Ended(None);
                    return None;
                };
                look(&intake);
                intake.recycle(spare);
                *self = match &piece {
                    Some(_) => Self::Ahead(send(crew, intake)),
                    None => Self::Ended(Some(intake)),
                };
                piece
            }
            Self::Here(intake) => {
                intake.recycle(spare);
                let piece = intake.next();
                look(intake);
                piece
            }
            Self::Ended(_) => None,
        }
    }

    /// The input, once it has ended.
    pub(super) fn into_intake(self) -> Option<Box<Intake>> {
        match self {
            Self::Here(intake) => Some(intake),
            Self::Ended(intake) => intake,
            Self::Ahead(done) => done.recv().ok().map(|done| done.intake),
        }
    }
}

/// Has an input read on. What comes of it goes where nobody else sends to, so that a thread that is lost shows.
fn send(crew: &Crew, intake: Box<Intake>) -> Receiver<Done> {
    let (reply, done) = channel();
    // The threads end after this does, so that one of them takes it.
    let _ = crew.jobs.send(Job { intake, reply });
    done
}
