//! Disputes end at the first number that the parties differ about, whoever of them lies, and silence, nonsense and games
//! with deadlines cost only whoever plays them.

use std::sync::Arc;

use engine::Engine;
use engine::trace::{BlockTrace, ChunkTrace, Tracer};
use evidence::audit::{AuditModel, transcript};
use evidence::dispute::party::{Numbers, OnDemand, Party};
use evidence::dispute::{Accusation, AnswerError, Dispute, DisputeError, Fault, Outcome, Question, Side};
use evidence::recompute::{NumberPlace, Referee};
use evidence::trace::{TraceOpener, TraceShape, commit};
use model::formats::Site;
use model::import::Architecture;
use model::synthetic::{SplitMix64, SyntheticModel};
use protocol::claim::FinishReason;
use protocol::id::ClientSeed;
use protocol::trace::TraceOperation;
use protocol::verdict::Reason;
use protocol::{Claim, TraceRoot};

use crate::audit::{FAMILIES, random_request};
use crate::cheats::{MATRICES, cheat, claim_of, tensor_range, wide_heads};
use crate::replay::{honest, request, start};

const WINDOW: u64 = 10;

/// Numbers that were recorded, and perhaps changed.
#[derive(Clone)]
pub(crate) struct Recorded(pub(crate) Vec<ChunkTrace>);

impl Numbers for Recorded {
    fn of_blocks(&self, blocks: &[usize]) -> Vec<ChunkTrace> {
        let mut trace = self.0.clone();
        for chunk in &mut trace {
            chunk.blocks.retain(|block| blocks.contains(&block.block));
        }
        trace
    }
}

impl Recorded {
    pub(crate) fn of(engine: &Engine, claim: &Claim) -> Self {
        let (ids, from) = transcript(engine.model(), claim);
        Self(Tracer::whole(engine, &ids, from, 32).collect())
    }

    fn opener(&self, shape: TraceShape) -> TraceOpener {
        TraceOpener::of(shape, &self.0).expect("complete")
    }

    /// Changes a number that is drawn, and gives its place.
    fn change(&mut self, random: &mut SplitMix64, by: i64) -> NumberPlace {
        loop {
            let chunk = random.below(self.0.len() as u64) as usize;
            let chunk = &mut self.0[chunk];
            let row = random.below(chunk.count as u64) as usize;
            let block = random.below(chunk.blocks.len() as u64) as usize;
            let names = BlockTrace::operations_of(block, chunk.blocks.len() - 1);
            let number = random.below(names.len() as u64) as usize;
            let operation = &mut chunk.blocks[block].operations[number];
            let width = operation.row(row).len();
            if width > 0 {
                let index = random.below(width as u64) as usize;
                operation.values[operation.starts[row] + index] += by;
                return NumberPlace { position: chunk.start + row, block, operation: names[number], index };
            }
        }
    }
}

/// A claim with its honest trace, and its referee.
pub(crate) struct Subject {
    pub(crate) engine: Engine,
    pub(crate) referee: Arc<Referee>,
    pub(crate) claim: Claim,
    ids: Vec<u32>,
    shape: TraceShape,
}

impl Subject {
    fn new(engine: Engine, claim: Claim) -> Self {
        let referee = Arc::new(Referee::new(Arc::new(AuditModel::new(engine.model().clone()))));
        let (ids, _) = transcript(engine.model(), &claim);
        let shape = TraceShape::new(engine.model(), ids.len());
        let mut subject = Self { referee, ids, shape, claim, engine };
        subject.claim.trace = Some(commit(&subject.engine, &subject.claim).expect("tokens").root());
        subject
    }

    pub(crate) fn tiny(architecture: Architecture) -> Self {
        let engine = start(SyntheticModel::tiny(architecture).gguf(), None);
        let claim = honest(&engine, request());
        Self::new(engine, claim)
    }

    fn end(&self) -> Option<usize> {
        self.claim.finish.out_of_range().map(|position| position as usize)
    }

    /// Who computes everything again when asked.
    pub(crate) fn honest(&self) -> Party<'_, OnDemand<'_>> {
        let opener = commit(&self.engine, &self.claim).expect("tokens");
        let numbers = OnDemand { engine: &self.engine, claim: &self.claim };
        Party::new(&self.referee, opener, numbers, &self.ids, self.end())
    }

    pub(crate) fn party(&self, recorded: Recorded, end: Option<usize>) -> Party<'_, Recorded> {
        let opener = recorded.opener(self.shape);
        Party::new(&self.referee, opener, recorded, &self.ids, end)
    }

    fn open(&self, claim: &Claim, accusation: Accusation) -> Result<Dispute, DisputeError> {
        Dispute::open(self.referee.clone(), claim.clone(), accusation, 0, WINDOW)
    }

    /// The claim with a trace of the claimant's choice.
    pub(crate) fn committed(&self, recorded: &Recorded) -> Claim {
        Claim { trace: Some(recorded.opener(self.shape).root()), ..self.claim.clone() }
    }
}

/// Plays to the end, answers of both sides at once.
fn play(dispute: &mut Dispute, answer: &mut dyn FnMut(Side, Question) -> Vec<u8>) -> Outcome {
    for now in 0.. {
        if let Some(outcome) = dispute.outcome() {
            return outcome.clone();
        }
        for side in Side::BOTH {
            if let Some(question) = dispute.question(side) {
                dispute.answer(side, &answer(side, question), now).expect("asked, and in time");
            }
        }
    }
    unreachable!()
}

fn sides<'p, A: Numbers, B: Numbers>(
    claimant: &'p Party<'_, A>,
    challenger: &'p Party<'_, B>,
) -> impl FnMut(Side, Question) -> Vec<u8> + use<'p, A, B> {
    move |side, question| match side {
        Side::Claimant => claimant.answer(question),
        Side::Challenger => challenger.answer(question),
    }
}

fn only_claimant(fault: Fault, place: Option<NumberPlace>) -> Outcome {
    Outcome { claimant: Some(fault), challenger: None, place }
}

fn only_challenger(fault: Fault, place: Option<NumberPlace>) -> Outcome {
    Outcome { claimant: None, challenger: Some(fault), place }
}

/// One number anywhere, changed by the claimant or by the challenger: the liar loses at that number.
#[test]
fn whoever_changed_a_number_loses_at_that_number() {
    let mut trials = 0;
    for architecture in FAMILIES {
        let subject = Subject::tiny(architecture);
        let honest = subject.honest();
        let recorded = Recorded::of(&subject.engine, &subject.claim);
        let mut random = SplitMix64::new(31);
        for trial in 0..150 {
            let mut lie = recorded.clone();
            let by = [1, -1, 1 << 30, -(1 << 44)][random.below(4) as usize];
            let place = lie.change(&mut random, by);
            let liar = subject.party(lie.clone(), None);
            let outcome = if trial % 2 == 0 {
                let claim = subject.committed(&lie);
                let mut dispute = subject.open(&claim, honest.accusation()).expect("two traces");
                play(&mut dispute, &mut sides(&liar, &honest))
            } else {
                let mut dispute = subject.open(&subject.claim, liar.accusation()).expect("two traces");
                play(&mut dispute, &mut sides(&honest, &liar))
            };
            assert_eq!(outcome.place, Some(place), "{architecture:?}");
            let (loser, winner) = if trial % 2 == 0 {
                (outcome.claimant, outcome.challenger)
            } else {
                (outcome.challenger, outcome.claimant)
            };
            assert_eq!(winner, None);
            assert!(matches!(loser, Some(Fault::Number { shown, right }) if shown == right + by));
            trials += 1;
        }
    }
    println!("{trials} disputes, the liar lost each");
}

/// Both lie about the same number: both lose. About different ones: whoever lied first, since behind that nothing is
/// looked at.
#[test]
fn of_two_liars_none_wins_by_the_others_lie() {
    let subject = Subject::tiny(Architecture::Qwen3);
    let recorded = Recorded::of(&subject.engine, &subject.claim);
    let mut random = SplitMix64::new(32);
    let (mut both, mut first) = (0, 0);
    for trial in 0..60 {
        let (mut ours, mut theirs) = (recorded.clone(), recorded.clone());
        let seed = random.below(1 << 60);
        let place = ours.change(&mut SplitMix64::new(seed), 1);
        let other = theirs.change(&mut SplitMix64::new(if trial % 2 == 0 { seed } else { seed + 1 }), 2);
        let claim = subject.committed(&ours);
        let (claimant, challenger) = (subject.party(ours, None), subject.party(theirs, None));
        let mut dispute = subject.open(&claim, challenger.accusation()).expect("two traces");
        let outcome = play(&mut dispute, &mut sides(&claimant, &challenger));
        let key = |place: NumberPlace| (subject.shape.index(place.leaf()), place.position, place.index);
        match key(place).cmp(&key(other)) {
            std::cmp::Ordering::Equal => {
                assert!(outcome.claimant.is_some() && outcome.challenger.is_some());
                both += 1;
            }
            std::cmp::Ordering::Less => {
                assert_eq!((outcome.place, outcome.challenger), (Some(place), None));
                assert!(outcome.claimant.is_some());
                first += 1;
            }
            std::cmp::Ordering::Greater => {
                assert_eq!((outcome.place, outcome.claimant), (Some(other), None));
                assert!(outcome.challenger.is_some());
                first += 1;
            }
        }
    }
    assert!(both >= 30 && first >= 25);
}

/// A claimant who ran other weights: the first number that they change decides.
#[test]
fn a_claimant_with_other_weights_loses() {
    let tiny = wide_heads();
    let engine = start(tiny.gguf(), None);
    let mut trials = 0;
    for (matrix, operation) in MATRICES {
        let mut bytes = tiny.gguf();
        let range = tensor_range(&bytes, &format!("blk.1.{matrix}.weight"));
        bytes[range.start + 4] ^= 1;
        let cheat = cheat(&engine, bytes);
        let claim = claim_of(&cheat, &engine);
        let subject = Subject::new(start(tiny.gguf(), None), claim);
        let shown = Recorded::of(&cheat, &subject.claim);
        let claim = subject.committed(&shown);
        let (claimant, challenger) = (subject.party(shown, None), subject.honest());
        let mut dispute = subject.open(&claim, challenger.accusation()).expect("two traces");
        let outcome = play(&mut dispute, &mut sides(&claimant, &challenger));
        let place = outcome.place.expect("a number decided");
        assert_eq!((place.block, place.operation), (1, operation));
        assert!(matches!(outcome.claimant, Some(Fault::Number { .. })) && outcome.challenger.is_none());
        trials += 1;
    }
    println!("{trials} matrices");
}

#[test]
fn an_output_that_the_logits_do_not_give_is_shown_from_the_claims_own_leaf() {
    let subject = Subject::tiny(Architecture::Llama);
    let honest = subject.honest();
    // Near miss: each honest output.
    for index in [0, 7, 15] {
        let mut dispute = subject.open(&subject.claim, Accusation::Output { index }).expect("there");
        assert_eq!(dispute.question(Side::Claimant), None);
        let outcome = play(&mut dispute, &mut sides(&honest, &honest));
        assert_eq!(outcome, only_challenger(Fault::Baseless, None));
    }
    let no_such = DisputeError::NoSuchOutput(16);
    assert_eq!(subject.open(&subject.claim, Accusation::Output { index: 16 }).err(), Some(no_such));
    // The last token is never read: the trace is the honest one.
    let mut forged = subject.claim.clone();
    let (claimed, computed) = ((forged.output_ids[15] + 1) % 300, forged.output_ids[15]);
    forged.output_ids[15] = claimed;
    forged.output_bytes = subject.engine.model().tokenizer.decode_bytes(&forged.output_ids).expect("known");
    let mut dispute = subject.open(&forged, Accusation::Output { index: 15 }).expect("there");
    let outcome = play(&mut dispute, &mut sides(&honest, &honest));
    let reason = Reason::OutputToken { position: 15, claimed, computed };
    assert_eq!(outcome, only_claimant(Fault::Claim(reason), None));
    // A fingerprint of other logits.
    let mut forged = subject.claim.clone();
    forged.fingerprints.swap(3, 4);
    let mut dispute = subject.open(&forged, Accusation::Output { index: 3 }).expect("there");
    let outcome = play(&mut dispute, &mut sides(&honest, &honest));
    assert_eq!(outcome, only_claimant(Fault::Claim(Reason::LogitFingerprint { position: 3 }), None));
}

#[test]
fn a_claim_that_is_false_in_itself_loses_before_any_round() {
    let subject = Subject::tiny(Architecture::Llama);
    let accusation = Accusation::Trace { root: TraceRoot::from_bytes([1; 32]), leaves: None };
    let mut bytes = subject.claim.clone();
    bytes.output_bytes.push(b'!');
    let dispute = subject.open(&bytes, accusation).expect("a dispute");
    assert!(matches!(
        dispute.outcome(),
        Some(Outcome { claimant: Some(Fault::Claim(Reason::OutputBytes { .. })), challenger: None, .. })
    ));
    let mut early = subject.claim.clone();
    early.settings.max_tokens += 1;
    let dispute = subject.open(&early, accusation).expect("a dispute");
    assert!(matches!(dispute.outcome(), Some(Outcome { claimant: Some(Fault::Claim(_)), .. })));
    let mut left = subject.claim.clone();
    left.finish = FinishReason::ReaderLeft;
    let dispute = subject.open(&left, accusation).expect("a dispute");
    assert!(matches!(dispute.outcome(), Some(Outcome { claimant: Some(Fault::Claim(_)), .. })));
    // What can't be disputed at all.
    let bare = Claim { trace: None, ..subject.claim.clone() };
    assert_eq!(subject.open(&bare, accusation).err(), Some(DisputeError::NoTrace));
    let other = Claim { model: protocol::id::ModelCommitment::from_bytes([0; 32]), ..subject.claim.clone() };
    assert_eq!(subject.open(&other, accusation).err(), Some(DisputeError::Model));
    let same = subject.honest().accusation();
    assert_eq!(subject.open(&subject.claim, same).err(), Some(DisputeError::SameTrace));
}

/// A dispute in which the claimant lies, brought to its `rounds`-th question.
fn brought_to<'s>(subject: &'s Subject, rounds: usize) -> Option<(Dispute, Party<'s, Recorded>)> {
    let mut lie = Recorded::of(&subject.engine, &subject.claim);
    lie.0[0].blocks[1].operations[TraceOperation::Weighted as usize].values[70] += 1;
    let claim = subject.committed(&lie);
    let (claimant, challenger) = (subject.party(lie, None), subject.honest());
    let mut dispute = subject.open(&claim, challenger.accusation()).expect("two traces");
    for _ in 0..rounds {
        for side in Side::BOTH {
            if let Some(question) = dispute.question(side) {
                let party = sides(&claimant, &challenger)(side, question);
                dispute.answer(side, &party, 0).expect("asked");
            }
        }
    }
    dispute.outcome().is_none().then_some((dispute, claimant))
}

/// Silence at every question, of either or both.
#[test]
fn whoever_is_silent_loses() {
    let subject = Subject::tiny(Architecture::Llama);
    let mut rounds = 0;
    while brought_to(&subject, rounds).is_some() {
        for silent in [vec![Side::Claimant], vec![Side::Challenger], Side::BOTH.to_vec()] {
            let (mut dispute, claimant) = brought_to(&subject, rounds).expect("as before");
            let challenger = subject.honest();
            let asked: Vec<Side> =
                Side::BOTH.into_iter().filter(|side| dispute.question(*side).is_some()).collect();
            for side in asked.iter().filter(|side| !silent.contains(side)) {
                let question = dispute.question(*side).expect("asked");
                let answer = sides(&claimant, &challenger)(*side, question);
                dispute.answer(*side, &answer, WINDOW).expect("at the last moment");
            }
            if asked.iter().all(|side| !silent.contains(side)) {
                continue;
            }
            dispute.tick(WINDOW);
            assert_eq!(dispute.outcome(), None, "the deadline itself is in time");
            dispute.tick(WINDOW + 1);
            let outcome = dispute.outcome().expect("ended").clone();
            let fault = |side| (asked.contains(&side) && silent.contains(&side)).then_some(Fault::Silent);
            let expected =
                Outcome { claimant: fault(Side::Claimant), challenger: fault(Side::Challenger), place: None };
            assert_eq!(outcome, expected, "round {rounds}, silent {silent:?}");
            assert_eq!(dispute.answer(Side::Claimant, &[], WINDOW), Err(AnswerError::Ended));
        }
        rounds += 1;
    }
    assert!(rounds >= 5, "{rounds} rounds");
}

/// Nonsense at every question costs whoever sends it, whatever the other's case is.
#[test]
fn nonsense_is_the_senders_fault() {
    let subject = Subject::tiny(Architecture::Llama);
    let mut random = SplitMix64::new(33);
    let (mut rounds, mut trials) = (0, 0);
    while brought_to(&subject, rounds).is_some() {
        for side in Side::BOTH {
            for kind in 0..12 {
                let (mut dispute, claimant) = brought_to(&subject, rounds).expect("as before");
                let challenger = subject.honest();
                let Some(question) = dispute.question(side) else { continue };
                let mut answer = sides(&claimant, &challenger)(side, question);
                match kind {
                    0 => answer.clear(),
                    1 => answer.push(0),
                    2 => drop(answer.pop()),
                    3 => answer = vec![0xff; answer.len()],
                    4 => answer = vec![0; 1 << 20],
                    5 => answer = vec![0xff; 4],
                    _ => {
                        let at = random.below(answer.len() as u64) as usize;
                        answer[at] ^= 1 << random.below(8);
                    }
                }
                dispute.answer(side, &answer, 0).expect("asked");
                let other = if side == Side::Claimant { Side::Challenger } else { Side::Claimant };
                if let Some(question) = dispute.question(other) {
                    let answer = sides(&claimant, &challenger)(other, question);
                    dispute.answer(other, &answer, 0).expect("asked");
                }
                let outcome = dispute.outcome().expect("nonsense ends it").clone();
                let (fault, innocent) = match side {
                    Side::Claimant => (outcome.claimant, outcome.challenger),
                    Side::Challenger => (outcome.challenger, outcome.claimant),
                };
                assert!(matches!(fault, Some(Fault::Form | Fault::Commitment)), "{question:?} {kind}");
                assert_eq!(innocent, None, "{question:?} {kind}");
                trials += 1;
            }
        }
        rounds += 1;
    }
    println!("{trials} answers of nonsense");
    assert!(trials > 80);
}

#[test]
fn games_with_deadlines_and_turns_change_nothing() {
    let subject = Subject::tiny(Architecture::Llama);
    let (mut dispute, claimant) = brought_to(&subject, 0).expect("begins");
    let challenger = subject.honest();
    let question = dispute.question(Side::Claimant).expect("asked");
    let answer = claimant.answer(question);
    assert_eq!(dispute.answer(Side::Claimant, &answer, WINDOW + 1), Err(AnswerError::Late));
    assert_eq!(dispute.answer(Side::Claimant, &answer, WINDOW), Ok(()));
    assert_eq!(dispute.answer(Side::Claimant, &[], WINDOW), Err(AnswerError::Repeated));
    assert_eq!(dispute.question(Side::Claimant), None);
    let theirs = dispute.question(Side::Challenger).expect("asked");
    assert_eq!(dispute.answer(Side::Challenger, &challenger.answer(theirs), WINDOW), Ok(()));
    assert_eq!(dispute.deadline(), 2 * WINDOW, "each question has a window of its own");
    // The inputs are asked of the challenger alone.
    let mut dispute = (0..9).rev().find_map(|rounds| brought_to(&subject, rounds)).expect("some").0;
    assert!(matches!(dispute.question(Side::Challenger), Some(Question::Inputs(_))));
    assert_eq!(dispute.answer(Side::Claimant, &[], 0), Err(AnswerError::NotAsked));
}

/// A model whose runs leave the range, and a claim of such a run.
pub(crate) fn leaving() -> Subject {
    let tiny = SyntheticModel::tiny(Architecture::Llama);
    let mut formats = start(tiny.gguf(), None).model().formats.clone();
    formats.blocks[1].exponents[Site::DownInput as usize] += 10;
    let engine = start(tiny.gguf(), Some(formats));
    let claims = (0..40_u8).map(|number| {
        let mut request = request();
        request.client_seed = ClientSeed::from_bytes([number; 32]);
        request.prompt_ids = vec![u32::from(number) * 5 + 20];
        honest(&engine, request)
    });
    let claim = claims
        .into_iter()
        .find(|claim| matches!(claim.finish, FinishReason::OutOfRange { position } if position > 2))
        .expect("some run leaves the range");
    Subject::new(engine, claim)
}

#[test]
fn a_run_that_leaves_the_range_is_shown_to_leave_it() {
    let subject = leaving();
    let end = subject.end().expect("it leaves");
    let honest = subject.honest();
    assert!(
        matches!(honest.accusation(), Accusation::Trace { leaves: Some(place), .. } if place.position == end)
    );
    // A challenger with a changed number loses, before and behind the end.
    let recorded = Recorded::of(&subject.engine, &subject.claim);
    let mut random = SplitMix64::new(34);
    for _ in 0..100 {
        let mut lie = recorded.clone();
        lie.change(&mut random, 1);
        let liar = subject.party(lie, None);
        let mut dispute = subject.open(&subject.claim, liar.accusation()).expect("two traces");
        let outcome = play(&mut dispute, &mut sides(&honest, &liar));
        assert!(outcome.claimant.is_none() && outcome.challenger.is_some(), "{outcome:?}");
    }
    // The same trace, and a challenger who says that it ends elsewhere or not at all.
    let root = subject.claim.trace.expect("committed");
    for leaves in [
        None,
        Some(NumberPlace { position: end - 1, block: 1, operation: TraceOperation::Down, index: 0 }),
        Some(NumberPlace { position: end, block: 0, operation: TraceOperation::Gate, index: 2 }),
    ] {
        let accusation = Accusation::Trace { root, leaves };
        let mut dispute = subject.open(&subject.claim, accusation).expect("an end is claimed");
        let outcome = play(&mut dispute, &mut sides(&honest, &honest));
        assert!(outcome.claimant.is_none() && outcome.challenger.is_some(), "{leaves:?}: {outcome:?}");
    }
    // The claim hides the end and goes on with a token more.
    let mut longer = subject.claim.clone();
    longer.finish = FinishReason::Length;
    longer.output_ids.push(7);
    longer.fingerprints.push(longer.fingerprints[0]);
    longer.settings.max_tokens = longer.output_ids.len() as u32;
    longer.output_bytes = subject.engine.model().tokenizer.decode_bytes(&longer.output_ids).expect("known");
    let longer = Claim { trace: None, ..longer };
    let hiding = Subject::new(start_of(&subject), longer);
    let opener = commit(&hiding.engine, &hiding.claim).expect("tokens");
    let numbers = OnDemand { engine: &hiding.engine, claim: &hiding.claim };
    let challenger = Party::new(&hiding.referee, opener, numbers, &hiding.ids, Some(end));
    let claimant = hiding.honest();
    let mut dispute = hiding.open(&hiding.claim, challenger.accusation()).expect("an end is said");
    let outcome = play(&mut dispute, &mut sides(&claimant, &challenger));
    assert_eq!((outcome.claimant, outcome.challenger), (Some(Fault::Range), None));
}

fn start_of(subject: &Subject) -> Engine {
    let bytes = SyntheticModel::tiny(Architecture::Llama).gguf();
    start(bytes, Some(subject.engine.model().formats.clone()))
}

#[test]
fn an_invented_end_is_not_shown() {
    let sound = Subject::tiny(Architecture::Llama);
    let mut invented = sound.claim.clone();
    invented.output_ids.pop();
    invented.fingerprints.pop();
    invented.output_bytes = sound.engine.model().tokenizer.decode_bytes(&invented.output_ids).expect("known");
    invented.finish = FinishReason::OutOfRange { position: 34 };
    let invented = Subject::new(start(SyntheticModel::tiny(Architecture::Llama).gguf(), None), invented);
    let challenger = invented.honest();
    let accusation = Accusation::Trace { root: invented.claim.trace.expect("committed"), leaves: None };
    // With no place, and with one of its own invention.
    let mut dispute = invented.open(&invented.claim, accusation).expect("an end is claimed");
    assert_eq!(dispute.question(Side::Claimant), Some(Question::Place));
    let outcome = play(&mut dispute, &mut sides(&challenger, &challenger));
    assert_eq!(outcome, only_claimant(Fault::Form, None));
    let mut dispute = invented.open(&invented.claim, accusation).expect("an end is claimed");
    let mut place = vec![0; 25];
    place[0] = 34;
    place[24] = TraceOperation::Gate as u8;
    let outcome = play(&mut dispute, &mut |side, question| {
        let answer = sides(&challenger, &challenger)(side, question);
        if question == Question::Place { place.clone() } else { answer }
    });
    assert_eq!(outcome.claimant, Some(Fault::Range));
    assert_eq!(outcome.challenger, None);
    // And one that is nowhere.
    let mut dispute = invented.open(&invented.claim, accusation).expect("an end is claimed");
    let outcome = play(&mut dispute, &mut |_, _| vec![0xff; 25]);
    assert_eq!(outcome, only_claimant(Fault::Form, None));
}

/// The size of a dispute about 256 tokens: what the parties send besides the deciding number's inputs.
#[test]
fn a_dispute_is_short() {
    let tiny = SyntheticModel { context: 512, ..SyntheticModel::tiny(Architecture::Llama) };
    let engine = start(tiny.gguf(), None);
    let mut random = SplitMix64::new(35);
    let mut long = random_request(&engine, &mut random, 3);
    long.settings.max_tokens = 256;
    long.settings.stop_at_end = false;
    long.settings.repetition_penalty_milli = 1000;
    let claim = honest(&engine, long);
    let subject = Subject::new(engine, claim);
    assert!(subject.ids.len() >= 256);
    let (honest, recorded) = (subject.honest(), Recorded::of(&subject.engine, &subject.claim));
    let (mut messages, mut bytes) = (0, 0);
    for _ in 0..60 {
        let mut lie = recorded.clone();
        lie.change(&mut random, 1);
        let claim = subject.committed(&lie);
        let liar = subject.party(lie, None);
        let mut dispute = subject.open(&claim, honest.accusation()).expect("two traces");
        let outcome = play(&mut dispute, &mut sides(&liar, &honest));
        assert!(outcome.claimant.is_some() && outcome.challenger.is_none());
        let work = dispute.work();
        messages = messages.max(work.messages[0].max(work.messages[1]));
        bytes = bytes.max(work.bytes[0] + work.bytes[1]);
    }
    println!("at most {messages} messages each way and {bytes} bytes");
    assert!(messages <= 8 && bytes <= 64 << 10);
}
