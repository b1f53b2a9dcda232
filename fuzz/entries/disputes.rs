//! Of checks: openings of a trace, answers of a dispute and of a challenge. A module of its own, since the serving path's
//! tests must not link the engine.

use std::sync::{Arc, OnceLock};

use engine::kernels::Isa;
use engine::trace::{ChunkTrace, Tracer};
use engine::{Engine, EngineOptions, Request, complete};
use evidence::audit::{AuditModel, transcript};
use evidence::challenge::{Answered, Challenge, Counts};
use evidence::dispute::party::{Numbers, Party};
use evidence::dispute::{Accusation, Dispute, Side};
use evidence::recompute::Referee;
use evidence::trace::{LeafPlace, Opening, TraceOpener, TraceShape};
use model::Model;
use model::commitment::calibrate_file;
use model::import::{Architecture, read_gguf};
use model::ops::matmul::PlainAccumulate;
use model::synthetic::SyntheticModel;
use protocol::trace::TraceOperation;
use protocol::{Claim, ClientSeed, Nonce, SamplingSettings};

/// The most numbers of a row that is read.
const WIDEST: usize = 384;
/// More questions than any dispute asks.
const QUESTIONS_MAX: usize = 64;

/// Numbers as they were recorded.
#[derive(Clone)]
struct Recorded(Vec<ChunkTrace>);

impl Numbers for Recorded {
    fn of_blocks(&self, _: &[usize]) -> Vec<ChunkTrace> {
        self.0.clone()
    }
}

/// A claim of a tiny model with its trace, and another trace with one number changed.
struct Subject {
    referee: Arc<Referee>,
    claim: Claim,
    ids: Vec<u32>,
    honest: (TraceOpener, Recorded),
    lie: (TraceOpener, Recorded),
}

fn subject() -> &'static Subject {
    static SUBJECT: OnceLock<Subject> = OnceLock::new();
    SUBJECT.get_or_init(|| {
        let file = read_gguf(Arc::new(SyntheticModel::tiny(Architecture::Llama).gguf())).expect("whole");
        let formats = calibrate_file(&file, &PlainAccumulate, &mut |_| {}).expect("bounds hold");
        let model = Arc::new(Model::assemble(file, formats).expect("bounds hold"));
        let options = EngineOptions { isa: Isa::best(), threads: 1 };
        let engine = Engine::new(Arc::clone(&model), options).expect("memory for a tiny model");
        let mut settings = SamplingSettings::greedy();
        settings.max_tokens = 6;
        settings.stop_at_end = false;
        let request = Request {
            prompt_ids: (30..41).collect(),
            settings,
            nonce: Nonce::from_bytes([1; 32]),
            client_seed: ClientSeed::from_bytes([2; 32]),
        };
        let completed = complete(&engine, request.clone(), |_| {}).expect("a valid request");
        let mut claim = completed.into_claim(&model, request, false);
        let (ids, from) = transcript(&model, &claim);
        let trace: Vec<ChunkTrace> = Tracer::whole(&engine, &ids, from, 32).collect();
        let committed = |trace: Vec<ChunkTrace>| {
            let opener = TraceOpener::of(TraceShape::new(&model, ids.len()), &trace);
            (opener.expect("the trace is whole"), Recorded(trace))
        };
        let mut changed = trace.clone();
        changed[0].blocks[1].operations[TraceOperation::Gate as usize].values[700] += 1;
        let (honest, lie) = (committed(trace), committed(changed));
        claim.trace = Some(honest.0.root());
        let referee = Arc::new(Referee::new(Arc::new(AuditModel::new(model))));
        Subject { referee, claim, ids, honest, lie }
    })
}

/// First byte: the operation. What is read is the one encoding of its numbers.
pub fn opening(data: &[u8]) -> bool {
    let Some((first, bytes)) = data.split_first() else { return false };
    let operation = TraceOperation::BLOCK[usize::from(*first) % TraceOperation::BLOCK.len()];
    let place = LeafPlace { chunk: 0, block: 0, operation };
    let Ok(opening) = Opening::decode(place, WIDEST, bytes) else { return false };
    assert_eq!(opening.encode(), bytes, "one form only");
    assert!(opening.rows.iter().all(|row| row.len() <= WIDEST), "no more numbers than were asked for");
    let subject = subject();
    let shape = subject.honest.0.shape();
    if opening.verify(shape, &subject.honest.0.root()).is_ok() {
        let right = subject.honest.0.open(&subject.honest.1.0[0], place).expect("there");
        assert_eq!(opening, right, "only the committed numbers lead to the root");
    }
    true
}

/// Openings of real leaves.
pub fn openings() -> Vec<Vec<u8>> {
    let subject = subject();
    let open = |(number, operation): (usize, &TraceOperation)| {
        let place = LeafPlace { chunk: 0, block: 0, operation: *operation };
        let opening = subject.honest.0.open(&subject.honest.1.0[0], place).expect("there");
        [&[number as u8][..], &opening.encode()].concat()
    };
    TraceOperation::BLOCK.iter().enumerate().map(open).collect()
}

/// Each answer: two bytes for its length (little-endian, 65535 for the true answer), and the answer. First byte: 0 for the
/// challenger who lies, anything else for an accusation of that length. A dispute always ends, and never against a
/// claimant whose answers are all true.
pub fn dispute(data: &[u8]) -> bool {
    let Some((first, mut rest)) = data.split_first() else { return false };
    let subject = subject();
    let party = |(opener, numbers): &(TraceOpener, Recorded)| {
        Party::new(&subject.referee, opener.clone(), numbers.clone(), &subject.ids, None)
    };
    let (claimant, challenger) = (party(&subject.honest), party(&subject.lie));
    let accusation = if *first == 0 {
        challenger.accusation()
    } else {
        let Some((bytes, behind)) = rest.split_at_checked(usize::from(*first)) else { return false };
        rest = behind;
        let Some(accusation) = Accusation::decode(bytes) else { return false };
        assert_eq!(accusation.encode(), bytes, "one form only");
        accusation
    };
    let opened = Dispute::open(Arc::clone(&subject.referee), subject.claim.clone(), accusation, 0, 1);
    let Ok(mut dispute) = opened else { return false };
    let (mut is_claimant_true, mut questions) = (true, 0);
    while dispute.outcome().is_none() {
        assert!(questions < QUESTIONS_MAX, "a dispute ends");
        let asked = Side::BOTH.into_iter().find_map(|side| Some((side, dispute.question(side)?)));
        let (side, question) = asked.expect("somebody is asked until it ends");
        questions += 1;
        let length = rest.split_first_chunk::<2>().map(|(length, behind)| {
            rest = behind;
            usize::from(u16::from_le_bytes(*length))
        });
        let truth =
            if side == Side::Claimant { claimant.answer(question) } else { challenger.answer(question) };
        let answer = match length {
            // An input that ends says nothing more: all true.
            None | Some(65_535) => truth.clone(),
            Some(length) => {
                let (answer, behind) = rest.split_at(length.min(rest.len()));
                rest = behind;
                answer.to_vec()
            }
        };
        is_claimant_true &= side == Side::Challenger || answer == truth;
        dispute.answer(side, &answer, 0).expect("it was asked");
    }
    let outcome = dispute.outcome().expect("it has ended");
    assert!(outcome.claimant.is_none() || !is_claimant_true, "an honest claimant loses to nothing");
    assert!(outcome.claimant.is_some() || outcome.challenger.is_some(), "somebody was wrong");
    outcome.place.is_some()
}

/// A whole dispute, and one that stops after each round.
pub fn disputes() -> Vec<Vec<u8>> {
    let truths = |count: usize| [vec![0], vec![255; 2 * count]].concat();
    let output = Accusation::Output { index: 3 }.encode();
    let accused = [vec![output.len() as u8], output, vec![255; 2]].concat();
    // The last is decided without a number, and the others by one.
    let mut seeds: Vec<Vec<u8>> = (0..12).map(truths).collect();
    seeds.push(accused);
    seeds
}

/// The answer to a challenge of ten probes. Only the true one passes.
pub fn challenge(data: &[u8]) -> bool {
    let subject = subject();
    let (mut challenge, truth) = challenged(subject);
    let answered = challenge.answer(data, 0).clone();
    assert_eq!(answered == Answered::Passed, data == truth, "only true numbers pass");
    !matches!(answered, Answered::Missing)
}

/// The true answer.
pub fn challenges() -> Vec<Vec<u8>> {
    vec![challenged(subject()).1]
}

fn challenged(subject: &Subject) -> (Challenge, Vec<u8>) {
    let counts = Counts { neurons: 2, rows: 1, checkpoints: 1 };
    let coins = [9; 32];
    let challenge = Challenge::draw(Arc::clone(&subject.referee), &subject.claim, &coins, counts, 1);
    let challenge = challenge.expect("the claim is committed");
    let (opener, numbers) = &subject.honest;
    let party = Party::new(&subject.referee, opener.clone(), numbers.clone(), &subject.ids, None);
    let answer = party.answer_probes(challenge.probes());
    (challenge, answer)
}
