//! The worker in every order of arrivals, cancels, passes and failures: driven step by step on one thread.
//!
//! ```text
//! ask 0, pass, ask 1, leave 0, pass, pass, ask 2, panic, pass, …     all orders of a few acts, drawn orders of many
//! after each act   no block in two hands, none that was freed in a table, nobody at work who has left, one end at most
//! at the end       who stayed has an end, and the text that it gets alone; nothing is lent or leased any more
//! ```
use super::*;
use crate::cache::{Cache, Place};
use std::collections::HashSet;
use std::sync::OnceLock;

#[derive(Clone, Copy, Debug)]
enum Act {
    /// The request of this number arrives.
    Ask(usize),
    /// Who asked drops the answer.
    Leave(usize),
    /// The worker does one round.
    Pass,
    /// The backend refuses the next pass.
    Fail,
    /// The backend panics in the next pass.
    Panic,
}

/// Prompts that share, that are long, that are background, that want nothing but a prefill.
fn cast() -> Vec<Request> {
    let hole = "let ab\n".repeat(5);
    let background = |r: Request| Request { priority: Priority::Background, ..r };
    vec![
        Request { max_tokens: 5, ..request(&hole, "}", "le") },
        Request { max_tokens: 4, rank: 1, ..request(&hole, "}", "le") },
        background(Request { max_tokens: 0, ..request(&hole, "} ab ab", "") }),
        Request { max_tokens: 12, draft: true, ..request(&"x1".repeat(24), "", "") },
        background(Request { max_tokens: 6, ..request("é\n", "", "") }),
        Request { max_tokens: 3, ..request(&hole, "}", "let") },
    ]
}

/// What each of the cast gets from a worker of its own.
fn alone(of: usize) -> &'static Answered {
    static ALL: OnceLock<Vec<Answered>> = OnceLock::new();
    &ALL.get_or_init(|| cast().into_iter().map(|request| ask(&chaos(256).0, request)).collect())[of]
}

/// One who has asked.
struct Seat {
    request: usize,
    answer: Option<Answer>,
    text: String,
    end: Option<Result<Finish, EngineError>>,
}

/// A worker without its thread.
struct Stage {
    machine: Machine,
    deck: Deck,
    jobs: Sender<Job>,
    probe: Arc<Probe>,
    seats: Vec<Seat>,
    panics: usize,
    troubles: usize,
}

impl Stage {
    fn new(together: usize, blocks: usize, ahead: bool) -> Stage {
        let mut model = TestModel::new(VOCAB, blocks, chaotic());
        (model.together, model.ahead) = (together, ahead);
        let (probe, (jobs, receiver)) = (model.probe.clone(), channel());
        let queue = Queue { jobs: receiver, interactive: VecDeque::new(), background: VecDeque::new(), closing: Arc::default() };
        let machine = Machine {
            backend: Box::new(model),
            tokens: TOKENS.clone(),
            cache: Cache::new(BLOCK, blocks),
            rows: Rows::default(),
            options: Options { cache_blocks: blocks, chunk: 16, ..Options::default() },
            queue,
            totals: Arc::default(),
            pace: FIRST_PACE,
        };
        Stage { machine, deck: Deck::default(), jobs, probe, seats: Vec::new(), panics: 0, troubles: 0 }
    }

    fn act(&mut self, act: Act) -> Result<(), String> {
        match act {
            Act::Ask(request) => self.ask(request),
            Act::Leave(seat) => self.seats.iter_mut().skip(seat).take(1).for_each(|seat| seat.answer = None),
            Act::Pass => return self.pass(),
            Act::Fail => self.trouble(|probe| probe.fail.store(true, SeqCst)),
            // The third in a row would end the model.
            Act::Panic if self.panics < 2 => self.trouble(|probe| probe.panic.store(true, SeqCst)),
            Act::Panic => {}
        }
        Ok(())
    }

    fn ask(&mut self, request: usize) {
        let (events, answer) = async_mpsc::unbounded_channel();
        let job = Job { request: cast()[request].clone(), events, submitted: Instant::now(), paused: None };
        self.jobs.send(job).map_err(|_| "closed").expect("the worker listens");
        self.seats.push(Seat { request, answer: Some(answer), text: String::new(), end: None });
    }

    fn trouble(&mut self, what: impl Fn(&Probe)) {
        self.troubles += 1;
        what(&self.probe);
    }

    /// What the thread's loop does once, if there is anything to do.
    fn pass(&mut self) -> Result<(), String> {
        if self.deck.flights.is_empty() {
            self.deck.job = self.machine.queue.poll(true);
            if self.deck.job.is_none() {
                return self.check();
            }
        }
        self.machine.step(&mut self.deck, &mut self.panics);
        self.listen()?;
        self.check()
    }

    /// Takes what has been said.
    fn listen(&mut self) -> Result<(), String> {
        for (n, seat) in self.seats.iter_mut().enumerate() {
            while let Some(event) = seat.answer.as_mut().and_then(|answer| answer.try_recv().ok()) {
                ensure(seat.end.is_none(), || format!("{n} hears {event:?} after its end"))?;
                match event {
                    Event::Text { text, .. } => seat.text += &text,
                    Event::Done { finish, .. } => seat.end = Some(Ok(finish)),
                    Event::Failed(error) => seat.end = Some(Err(error)),
                    Event::Top(_) => {}
                }
            }
        }
        Ok(())
    }

    /// What holds between any two passes.
    fn check(&self) -> Result<(), String> {
        let (cache, flights) = (&self.machine.cache, &self.deck.flights);
        cache.check()?;
        ensure(self.deck.job.is_none(), || "a job is neither waiting nor at work".into())?;
        ensure(flights.len() <= self.machine.backend.together().max(1), || format!("{} at work", flights.len()))?;
        ensure(flights.iter().all(|f| !f.job.events.is_closed()), || "who has left is still at work".into())?;
        let background = flights.iter().filter(|f| f.job.request.priority == Priority::Background).count();
        ensure(background == 0 || background == flights.len(), || "background work beside a user's".into())?;
        let mut own = HashSet::new();
        for block in flights.iter().flat_map(|f| &f.sequence.table) {
            match cache.place(*block) {
                Place::Lent => ensure(own.insert(*block), || format!("{block:?} is in two hands"))?,
                place => ensure(place == Place::Tree { leased: true }, || format!("{block:?} is used, and it is {place:?}"))?,
            }
        }
        ensure(own.len() == cache.lent_blocks(), || format!("{} blocks are lent, {} are held", cache.lent_blocks(), own.len()))?;
        ensure(!flights.is_empty() || cache.leased_nodes() == 0, || "a lease without a sequence".into())
    }

    /// Passes until nothing is left, then looks at what each has got.
    fn finish(mut self) -> Result<(), String> {
        self.probe.fail.store(false, SeqCst);
        self.probe.panic.store(false, SeqCst);
        for pass in 0.. {
            ensure(pass < 1000, || "it never ends".into())?;
            self.pass()?;
            if self.deck.flights.is_empty() && self.machine.queue.interactive.is_empty() && self.machine.queue.background.is_empty() {
                break;
            }
        }
        let mut failed = 0;
        for (n, seat) in self.seats.iter().enumerate().filter(|(_, seat)| seat.answer.is_some()) {
            let expected = alone(seat.request);
            match &seat.end {
                None => return Err(format!("{n} has no end")),
                Some(Err(_)) => failed += 1,
                Some(Ok(finish)) => {
                    let same = (seat.text.as_str(), *finish) == (expected.text.as_str(), expected.content().2);
                    ensure(same, || format!("{n} got {:?}, alone it gets {:?}", seat.text, expected.text))?;
                }
            }
        }
        // A panic fails all that were at work, a refused pass those in it.
        ensure(self.troubles > 0 || failed == 0, || format!("{failed} failed and nothing went wrong"))
    }
}

fn ensure(holds: bool, say: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(say()) }
}

fn run(stage: Stage, acts: &[Act]) -> Result<(), String> {
    let mut stage = stage;
    for (n, act) in acts.iter().enumerate() {
        stage.act(*act).map_err(|e| format!("{e}, after act {n} of {acts:?}"))?;
    }
    stage.finish().map_err(|e| format!("{e}, at the end of {acts:?}"))
}

/// The acts with so many passes before each.
fn with_passes(acts: &[Act], passes: &[usize]) -> Vec<Act> {
    acts.iter().zip(passes).flat_map(|(act, n)| std::iter::repeat_n(Act::Pass, *n).chain([*act])).collect()
}

/// Every way to have 0 to `most` passes before each of `count` acts.
fn gaps(count: usize, most: usize) -> impl Iterator<Item = Vec<usize>> {
    let base = most + 1;
    (0..base.pow(count as u32)).map(move |n| (0..count as u32).map(|digit| n / base.pow(digit) % base).collect())
}

/// Three arrive and one leaves, with every number of passes between: alone and together, with room and without.
#[test]
fn every_order_of_a_few() {
    let scripts = [
        [Act::Ask(0), Act::Ask(1), Act::Leave(0), Act::Ask(5)],
        [Act::Ask(2), Act::Ask(0), Act::Leave(1), Act::Ask(3)],
        [Act::Ask(3), Act::Ask(4), Act::Ask(1), Act::Leave(1)],
        [Act::Ask(0), Act::Ask(1), Act::Panic, Act::Ask(2)],
        [Act::Ask(3), Act::Ask(0), Act::Fail, Act::Leave(0)],
    ];
    for script in scripts {
        for passes in gaps(script.len(), 4) {
            for (together, blocks, ahead) in [(1, 64, false), (8, 64, false), (8, 64, true), (8, 9, false)] {
                let acts = with_passes(&script, &passes);
                run(Stage::new(together, blocks, ahead), &acts).unwrap_or_else(|e| panic!("{together}, {blocks} blocks, {ahead}: {e}"));
            }
        }
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => Just(Act::Pass),
        3 => (0..6usize).prop_map(Act::Ask),
        1 => (0..12usize).prop_map(Act::Leave),
        1 => prop_oneof![Just(Act::Fail), Just(Act::Panic)],
    ];
    prop::collection::vec(act, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn drawn_orders_of_many(acts in acts(), together in prop::sample::select(vec![1, 2, 8]), small in any::<bool>(), ahead in any::<bool>()) {
        // The longest alone takes eight blocks.
        let stage = Stage::new(together, if small { 9 } else { 64 }, ahead);
        prop_assert_eq!(run(stage, &acts), Ok(()));
    }
}
