//! The course of one ending: ask, cut, look whether anything got ahead of the cut; again where it did. Pure.

use std::time::{Duration, Instant};

/// An end that has not answered by then is gone, or says nothing.
const ANSWER_TIME: Duration = Duration::from_millis(250);
/// After a cut, what was on its way has passed by then.
const SETTLE_TIME: Duration = Duration::from_millis(10);
/// Each round meets the numbers of the moment; a flow that gets ahead of so many is left. A busy one gets ahead of about
/// half of them where the machine is loaded, so eight were too few.
const ROUNDS_MAX: u32 = 64;
/// A client to which no way is known is tried so often.
const ROUNDS_UNREACHED: u32 = 2;
/// As far may what a client claims to have received lie behind what was sent: the largest window.
const WINDOW_MAX: u32 = 1 << 30;

/// How an ending came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Both ends were sent the number that they expect.
    Cut {
        /// Both had said it. One that had not is gone, or will be told by the other's host when it speaks.
        answered: bool,
    },
    /// It had ended by itself.
    Gone,
    /// Its packets were ahead each time: it may live.
    Unsure,
}

/// What the record says, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// What comes next from the client, as seen from here.
    pub(super) client_next: u32,
    /// What the client says that it expects next; `None`: not known.
    pub(super) client_acked: Option<u32>,
    /// What comes next from the backend, as seen from here.
    pub(super) backend_next: u32,
    /// What the backend says that it expects next.
    pub(super) backend_acked: u32,
    /// Packets from the client.
    pub(super) packets_in: u64,
    /// Packets from the backend.
    pub(super) packets_out: u64,
}

impl Numbers {
    /// What the client expects next. It is a claim: where it cannot be, what was sent to it.
    pub(super) fn client_acked(&self) -> u32 {
        let behind = |acked: &u32| self.backend_next.wrapping_sub(*acked) <= WINDOW_MAX;
        self.client_acked.filter(behind).unwrap_or(self.backend_next)
    }

    /// What comes next from the client: what the backend has had is believed.
    pub(super) const fn client_next(&self) -> u32 {
        let ahead = self.backend_acked.wrapping_sub(self.client_next);
        if ahead <= WINDOW_MAX {
            self.backend_acked
        } else {
            self.client_next
        }
    }
}

/// Numbers to cut at: what each end said, and what it gets behind everything that has passed here. They differ only while
/// something is on its way, or lost. In this order: what arrives between the two makes the second one right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) to_backend: Vec<u32>,
    pub(super) to_client: Vec<u32>,
}

impl Cut {
    fn at(seen: &Numbers) -> Self {
        let both = |passed, said| {
            if passed == said {
                vec![passed]
            } else {
                vec![said, passed]
            }
        };
        Self {
            to_backend: both(seen.client_next(), seen.backend_acked),
            to_client: both(seen.backend_next, seen.client_acked()),
        }
    }

    /// True where nothing has moved since. An end that moved may have been between the two numbers when they arrived.
    fn holds(&self, seen: &Numbers) -> bool {
        *self == Self::at(seen)
    }
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    /// Send an old segment to these ends; then [`Course::asked`].
    Ask {
        backend: bool,
        client: bool,
    },
    /// Send these RSTs; then [`Course::cut`].
    Cut(Cut),
    Over(Ended),
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Begun,
    /// Since when; the packets at that moment, own ones added.
    Asked(Asked),
    Cut {
        at: Instant,
        numbers: Cut,
        reached: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    since: Instant,
    packets_in: u64,
    packets_out: u64,
    backend: bool,
    client: bool,
}

/// Where one ending is.
#[derive(Debug, Default)]
pub(super) struct Course {
    phase: Phase,
    rounds: u32,
    /// Whether the backend and the client have answered, in any round.
    answered: [bool; 2],
}

impl Course {
    pub(super) fn next(&mut self, seen: &Numbers, now: Instant) -> Step {
        match &mut self.phase {
            Phase::Begun => self.ask(seen, now),
            Phase::Asked(asked) => {
                let backend = asked.backend && seen.packets_out > asked.packets_out;
                let client = asked.client && seen.packets_in > asked.packets_in;
                self.answered = [self.answered[0] | backend, self.answered[1] | client];
                if backend && client || now.duration_since(asked.since) >= ANSWER_TIME {
                    return Step::Cut(Cut::at(seen));
                }
                // The answer of the one may teach the host where the other is.
                match (asked.backend, asked.client) {
                    (true, true) => Step::Wait,
                    (backend, client) => Step::Ask {
                        backend: !backend,
                        client: !client,
                    },
                }
            }
            Phase::Cut { at, numbers, reached } => {
                if now.duration_since(*at) < SETTLE_TIME {
                    return Step::Wait;
                }
                let (holds, reached) = (numbers.holds(seen), *reached);
                // A client that cannot be sent to is off this link: the backend's end is cut, and its host will say so.
                if holds && (reached || self.rounds >= ROUNDS_UNREACHED) {
                    let answered = reached && self.answered == [true; 2];
                    return Step::Over(Ended::Cut { answered });
                }
                if self.rounds >= ROUNDS_MAX {
                    return Step::Over(Ended::Unsure);
                }
                if reached && self.answered == [true; 2] {
                    // What it has said since is in the record: a packet of its own is as good as an answer.
                    self.rounds += 1;
                    return Step::Cut(Cut::at(seen));
                }
                self.ask(seen, now)
            }
        }
    }

    fn ask(&mut self, seen: &Numbers, now: Instant) -> Step {
        self.rounds += 1;
        self.phase = Phase::Asked(Asked {
            since: now,
            packets_in: seen.packets_in,
            packets_out: seen.packets_out,
            backend: false,
            client: false,
        });
        Step::Ask {
            backend: true,
            client: true,
        }
    }

    /// So many packets of our own count as the client's and as the backend's; these ends were asked.
    pub(super) fn asked(&mut self, own_in: u64, own_out: u64, backend: bool, client: bool) {
        if let Phase::Asked(asked) = &mut self.phase {
            asked.packets_in += own_in;
            asked.packets_out += own_out;
            asked.backend |= backend;
            asked.client |= client;
        }
    }

    /// The RSTs are on their way; `reached`: those to the client are.
    pub(super) fn cut(&mut self, numbers: Cut, reached: bool) {
        self.phase = Phase::Cut {
            at: Instant::now(),
            numbers,
            reached,
        };
    }

    /// The record is another flow's by now.
    pub(super) const fn lost_sight(&self) -> Ended {
        match self.phase {
            Phase::Cut { .. } => Ended::Cut { answered: false },
            // An earlier round's cut has ended it.
            Phase::Asked(_) if self.rounds > 1 => Ended::Cut { answered: false },
            Phase::Begun | Phase::Asked(_) => Ended::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> Numbers {
        Numbers {
            client_next: 1_000,
            client_acked: Some(5_000),
            backend_next: 5_000,
            backend_acked: 1_000,
            packets_in: 10,
            packets_out: 10,
        }
    }

    fn answered(seen: Numbers) -> Numbers {
        Numbers {
            packets_in: seen.packets_in + 2,
            packets_out: seen.packets_out + 2,
            ..seen
        }
    }

    fn later(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    fn begun(course: &mut Course, seen: &Numbers, now: Instant) {
        assert_eq!(
            course.next(seen, now),
            Step::Ask {
                backend: true,
                client: true
            }
        );
        course.asked(1, 1, true, true);
    }

    #[test]
    fn an_idle_flow_is_cut_once_both_have_answered() {
        let (mut course, now) = (Course::default(), Instant::now());
        begun(&mut course, &idle(), now);
        let own = Numbers {
            packets_in: 11,
            packets_out: 11,
            ..idle()
        };
        assert_eq!(course.next(&own, later(now, 20)), Step::Wait, "these are our own");
        let Step::Cut(cut) = course.next(&answered(idle()), later(now, 40)) else {
            panic!("both have answered");
        };
        assert_eq!((&cut.to_backend[..], &cut.to_client[..]), (&[1_000][..], &[5_000][..]));
        course.cut(cut, true);
        let over = course.next(&answered(idle()), later(Instant::now(), 20));
        assert_eq!(over, Step::Over(Ended::Cut { answered: true }));
    }

    #[test]
    fn a_silent_end_is_waited_for_so_long_and_no_longer() {
        let (mut course, now) = (Course::default(), Instant::now());
        begun(&mut course, &idle(), now);
        let half = Numbers {
            packets_in: 12,
            packets_out: 11,
            ..idle()
        };
        assert_eq!(course.next(&half, later(now, 249)), Step::Wait);
        let Step::Cut(cut) = course.next(&half, later(now, 250)) else {
            panic!("it is waited for no longer");
        };
        course.cut(cut, true);
        let over = course.next(&half, later(Instant::now(), 20));
        assert_eq!(over, Step::Over(Ended::Cut { answered: false }));
    }

    #[test]
    fn what_got_ahead_of_the_cut_makes_another_round_and_not_for_ever() {
        let (mut course, mut now, mut seen) = (Course::default(), Instant::now(), idle());
        begun(&mut course, &seen, now);
        for round in 1..=ROUNDS_MAX {
            seen = answered(seen);
            let Step::Cut(cut) = course.next(&seen, now) else {
                panic!("round {round}: they are asked once")
            };
            course.cut(cut, true);
            // The client has sent more, and the backend has had it.
            seen.client_next += 100;
            seen.backend_acked += 100;
            now = later(Instant::now(), 20);
        }
        assert_eq!(course.next(&seen, now), Step::Over(Ended::Unsure));
    }

    #[test]
    fn a_client_off_the_link_is_tried_twice() {
        let (mut course, mut now) = (Course::default(), Instant::now());
        for round in 1..=2 {
            begun(&mut course, &idle(), now);
            let Step::Cut(cut) = course.next(&answered(idle()), later(now, 20)) else {
                panic!("round {round}");
            };
            course.cut(cut, false);
            now = later(Instant::now(), 20);
        }
        let over = course.next(&idle(), now);
        assert_eq!(over, Step::Over(Ended::Cut { answered: false }));
    }

    #[test]
    fn what_is_on_its_way_is_cut_behind_it_and_before_it() {
        let seen = Numbers {
            client_next: 1_200,
            client_acked: Some(4_000),
            ..idle()
        };
        let cut = Cut::at(&seen);
        assert_eq!(cut.to_backend, [1_000, 1_200]);
        assert_eq!(cut.to_client, [4_000, 5_000]);
        assert!(cut.holds(&seen));
        let acknowledged = Numbers {
            backend_acked: 1_200,
            client_acked: Some(5_000),
            ..seen
        };
        assert!(!cut.holds(&acknowledged), "it may have arrived between the two");
        let more = Numbers {
            backend_next: 5_001,
            ..seen
        };
        assert!(!cut.holds(&more));
    }

    #[test]
    fn a_claim_that_cannot_be_is_not_believed() {
        let seen = |client_acked| Numbers { client_acked, ..idle() };
        assert_eq!(seen(Some(5_001)).client_acked(), 5_000, "ahead of all that was sent");
        assert_eq!(seen(None).client_acked(), 5_000);
        assert_eq!(seen(Some(4_990)).client_acked(), 4_990);
        let wrapped = Numbers {
            client_next: u32::MAX,
            backend_acked: 3,
            ..idle()
        };
        assert_eq!(wrapped.client_next(), 3);
    }
}
