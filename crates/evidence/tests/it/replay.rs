//! Replay accepts every honest claim and names the right reason for every cheat.

use std::sync::Arc;

use engine::accumulate::KernelAccumulate;
use engine::kernels::Isa;
use engine::{Batch, Engine, EngineOptions, Event, Request, complete};
use evidence::replay::replay;
use model::Model;
use model::commitment::calibrate_file;
use model::formats::{Formats, Site};
use model::import::{Architecture, read_gguf};
use model::synthetic::{SplitMix64, SyntheticModel};
use protocol::claim::{Claim, FinishReason};
use protocol::fingerprint::LogitFingerprint;
use protocol::id::{ClientSeed, ModelCommitment, Nonce, Seed};
use protocol::logprobs::TokenLogprobs;
use protocol::settings::SamplingSettings;
use protocol::verdict::{Missing, Reason, Verdict};

const NONCE: Nonce = Nonce::from_bytes([3; 32]);

pub(crate) fn start(bytes: Vec<u8>, formats: Option<Formats>) -> Engine {
    let file = read_gguf(Arc::new(bytes)).expect("synthetic models are whole");
    let formats = formats.unwrap_or_else(|| {
        calibrate_file(&file, &KernelAccumulate::new(Isa::best()), &mut |_| {}).expect("bounds hold")
    });
    let model = Arc::new(Model::assemble(file, formats).expect("bounds hold"));
    Engine::new(model, EngineOptions { isa: Isa::best(), threads: 2 }).expect("memory for a tiny model")
}

fn llama() -> Engine {
    start(SyntheticModel::tiny(Architecture::Llama).gguf(), None)
}

pub(crate) fn request() -> Request {
    let mut settings = SamplingSettings::greedy();
    settings.temperature_milli = 800;
    settings.max_tokens = 16;
    settings.stop_at_end = false;
    let prompt_ids = (30..50).collect();
    Request { prompt_ids, settings, nonce: NONCE, client_seed: ClientSeed::from_bytes([4; 32]) }
}

pub(crate) fn honest(engine: &Engine, request: Request) -> Claim {
    let completed = complete(engine, request.clone(), |_| {}).expect("a valid request");
    completed.into_claim(engine.model(), request, false)
}

fn judge(engine: &Engine, claim: &Claim) -> Verdict {
    replay(engine, claim, Some(&NONCE)).expect("this judge can decode")
}

/// Honest runs over families, settings, seeds and prompt lengths: none may be rejected.
#[test]
fn honest_claims_are_accepted() {
    let mut claims = 0;
    for architecture in [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma3]
    {
        let engine = start(SyntheticModel::tiny(architecture).gguf(), None);
        let mut random = SplitMix64::new(77);
        for number in 0..40_u8 {
            let mut request = request();
            let vocab = u64::from(engine.model().config.vocab);
            let length = 1 + random.below(100);
            request.prompt_ids = (0..length).map(|_| random.below(vocab) as u32).collect();
            request.client_seed = ClientSeed::from_bytes([number; 32]);
            request.settings.temperature_milli = [0, 300, 1000, 5000][usize::from(number % 4)];
            request.settings.top_k = [0, 40, 1][usize::from(number % 3)];
            request.settings.top_p_ppm = [1_000_000, 900_000][usize::from(number % 2)];
            request.settings.min_p_ppm = [0, 50_000, 0, 0, 0][usize::from(number % 5)];
            request.settings.repetition_penalty_milli = [1000, 1300, 1000][usize::from(number % 3)];
            // Long ones run into the context, some into an end token.
            request.settings.max_tokens = 1 + random.below(60) as u32;
            request.settings.stop_at_end = number % 2 == 0;
            let claim = honest(&engine, request);
            assert_eq!(judge(&engine, &claim), Verdict::Accept, "{architecture:?} request {number}");
            claims += 1;
        }
    }
    println!("{claims} honest claims, 0 rejected");
}

#[test]
fn an_honest_out_of_range_claim_is_accepted_and_a_false_one_rejected() {
    let tiny = SyntheticModel::tiny(Architecture::Llama);
    let mut formats = start(tiny.gguf(), None).model().formats.clone();
    formats.blocks[1].exponents[Site::DownInput as usize] += 10;
    let engine = start(tiny.gguf(), Some(formats));
    let claim = (0..40_u8)
        .map(|number| {
            let mut request = request();
            request.client_seed = ClientSeed::from_bytes([number; 32]);
            request.prompt_ids = vec![u32::from(number) * 5 + 20];
            honest(&engine, request)
        })
        .find(|claim| matches!(claim.finish, FinishReason::OutOfRange { .. }))
        .expect("some run leaves the range");
    assert_eq!(judge(&engine, &claim), Verdict::Accept);
    let FinishReason::OutOfRange { position } = claim.finish else { unreachable!() };

    let mut later = claim.clone();
    later.finish = FinishReason::OutOfRange { position: position + 1 };
    let reason = Reason::OutOfRange { claimed: Some(position + 1), computed: Some(position) };
    assert_eq!(judge(&engine, &later), Verdict::Reject(reason));
    let mut hidden = claim;
    hidden.finish = FinishReason::Length;
    hidden.settings.max_tokens = hidden.output_ids.len() as u32;
    assert!(matches!(judge(&engine, &hidden), Verdict::Reject(_)));

    // Inventing an OutOfRange to avoid an answer.
    let sound = llama();
    let mut invented = honest(&sound, request());
    invented.finish = FinishReason::OutOfRange { position: 25 };
    let reason = Reason::OutOfRange { claimed: Some(25), computed: None };
    assert_eq!(judge(&sound, &invented), Verdict::Reject(reason));
}

/// As [`honest`], with log-probabilities.
fn with_logprobs(engine: &Engine, request: Request, top: u8) -> Claim {
    let mut batch = Batch::new(engine);
    batch.add_with_logprobs(request.clone(), Some(top)).expect("a valid request");
    let completed = loop {
        let finished = batch.step().into_iter().find_map(|event| match event {
            Event::Finished { completed, .. } => Some(completed),
            Event::Token { .. } => None,
        });
        if let Some(completed) = finished {
            break completed;
        }
    };
    completed.into_claim(engine.model(), request, false)
}

#[test]
fn honest_logprobs_are_accepted_and_change_nothing_else() {
    let engine = llama();
    for (number, top) in [0, 1, 5, 20].into_iter().enumerate() {
        let mut request = request();
        request.client_seed = ClientSeed::from_bytes([number as u8; 32]);
        request.settings.repetition_penalty_milli = [1000, 1300][number % 2];
        request.settings.temperature_milli = [0, 800][number / 2];
        let claim = with_logprobs(&engine, request.clone(), top);
        let logprobs = claim.logprobs.as_ref().expect("they were asked for");
        assert_eq!(logprobs.tokens.len(), claim.output_ids.len());
        let vocabulary = engine.model().config.vocab;
        let mut pairs = logprobs.tokens.iter().zip(&claim.output_ids);
        assert!(pairs.all(|(logprobs, id)| logprobs.fits(*id, top, vocabulary)));
        assert_eq!(judge(&engine, &claim), Verdict::Accept);
        // Not asked for: not there, and not missed.
        let plain = Claim { logprobs: None, ..claim };
        assert_eq!(plain, honest(&engine, request));
        assert_eq!(judge(&engine, &plain), Verdict::Accept);
    }
}

#[test]
fn a_lie_about_a_logprob_alone_is_rejected_at_its_position() {
    let engine = llama();
    let claim = with_logprobs(&engine, request(), 3);
    let check = |position: u32, lie: &dyn Fn(&mut TokenLogprobs)| {
        let mut claim = claim.clone();
        let logprobs = claim.logprobs.as_mut().expect("they were asked for");
        lie(&mut logprobs.tokens[position as usize]);
        assert_eq!(claim.check_shape(), Ok(()));
        assert_eq!(judge(&engine, &claim), Verdict::Reject(Reason::Logprob { position }));
    };
    // A millionth is enough, of the token or of one beside it.
    check(3, &|token| token.below_micronats ^= 1);
    check(0, &|token| token.top[2].below_micronats += 1);
    check(15, &|token| token.top[1].id ^= 1);
    check(5, &|token| token.top.swap(0, 1));
    check(7, &|token| token.top.truncate(2));
}

#[test]
fn a_changed_output_token_is_rejected_at_its_position() {
    let engine = llama();
    let claim = honest(&engine, request());
    for position in [0, 7, 15] {
        let mut forged = claim.clone();
        let computed = forged.output_ids[position];
        forged.output_ids[position] = (computed + 1) % 300;
        let claimed = forged.output_ids[position];
        let position = position as u32;
        let expected = Verdict::Reject(Reason::OutputToken { position, claimed, computed });
        assert_eq!(judge(&engine, &forged), expected);
    }
    let mut outside = claim.clone();
    outside.output_ids[3] = u32::MAX;
    let (claimed, computed) = (u32::MAX, claim.output_ids[3]);
    let expected = Verdict::Reject(Reason::OutputToken { position: 3, claimed, computed });
    assert_eq!(judge(&engine, &outside), expected);
}

/// One 4-bit quant of the last block's attention output matrix, changed by one step.
#[test]
fn one_changed_quant_is_rejected_by_the_fingerprint() {
    let tiny = SyntheticModel::tiny(Architecture::Llama);
    let engine = start(tiny.gguf(), None);
    let bytes = tiny.gguf();
    let tensor = model::gguf::Gguf::parse(Arc::new(bytes.clone())).expect("whole");
    let tensor = tensor.tensors().iter().find(|t| t.name() == "blk.1.attn_output.weight").expect("there");
    let place = bytes.windows(64).position(|w| w == &tensor.bytes().as_slice()[..64]).expect("in the file");
    let mut same_tokens = 0;
    for quant in 0..24 {
        let mut tampered = bytes.clone();
        // Block of 20 bytes: f16 d, f16 m, 16 bytes of quants.
        tampered[place + quant / 16 * 20 + 4 + quant % 16] ^= 1;
        let cheat = start(tampered, Some(engine.model().formats.clone()));
        assert_ne!(cheat.model().commitment, engine.model().commitment);
        let mut claim = honest(&cheat, request());
        claim.model = engine.model().commitment;
        // The cheat takes the fingerprint at the point that the claim's model commitment demands.
        claim.fingerprints = refingerprint(&cheat, &engine, &claim);
        same_tokens += usize::from(claim.output_ids == honest(&engine, request()).output_ids);
        let verdict = judge(&engine, &claim);
        assert_eq!(verdict, Verdict::Reject(Reason::LogitFingerprint { position: 0 }), "quant {quant}");
    }
    println!("24 changed quants, {same_tokens} without a changed token, 24 rejected");
}

/// What `cheat` would claim if it took its fingerprints at the point of `engine`'s model.
fn refingerprint(cheat: &Engine, engine: &Engine, claim: &Claim) -> Vec<LogitFingerprint> {
    use engine::execute::Chunk;
    use engine::fingerprint::Fingerprinter;
    let commitment = &engine.model().commitment;
    let point = protocol::fingerprint::fingerprint_point(
        commitment,
        &claim.nonce,
        &claim.prompt_ids,
        &claim.settings,
    );
    let fingerprinter = Fingerprinter::new(&point, engine.model().config.vocab as usize);
    let ids: Vec<u32> = claim.prompt_ids.iter().chain(&claim.output_ids).copied().collect();
    let mut cache = cheat.new_cache();
    let ids = &ids[..ids.len() - 1];
    let from = claim.prompt_ids.len() - 1;
    let mut chunks = [Chunk { cache: &mut cache, ids, logits_from: from }];
    cheat.forward(&mut chunks, |_, logits| fingerprinter.fingerprint(logits)).results
}

#[test]
fn draws_from_another_seed_are_rejected() {
    let engine = llama();
    let claim = honest(&engine, request());
    // A seed that was not derived.
    let mut chosen = claim.clone();
    chosen.seed = Seed::from_bytes([9; 32]);
    let derived = claim.seed;
    let expected = Verdict::Reject(Reason::Seed { claimed: chosen.seed, derived });
    assert_eq!(judge(&engine, &chosen), expected);
    // The agreed seed in the claim, another one at the draws.
    let mut other = request();
    other.client_seed = ClientSeed::from_bytes([8; 32]);
    let mut drawn = honest(&engine, other);
    drawn.client_seed = claim.client_seed;
    drawn.seed = claim.seed;
    let first = drawn.output_ids.iter().zip(&claim.output_ids).position(|(a, b)| a != b).expect("differ");
    let expected = Reason::OutputToken {
        position: first as u32,
        claimed: drawn.output_ids[first],
        computed: claim.output_ids[first],
    };
    assert_eq!(judge(&engine, &drawn), Verdict::Reject(expected));
}

#[test]
fn a_truncated_prompt_is_rejected_at_the_first_token() {
    let engine = llama();
    let full = request();
    let mut short = full.clone();
    short.prompt_ids.drain(..5);
    let mut claim = honest(&engine, short);
    claim.prompt_ids = full.prompt_ids;
    assert_eq!(judge(&engine, &claim), Verdict::Reject(Reason::LogitFingerprint { position: 0 }));
}

#[test]
fn an_old_claim_under_a_new_nonce_is_rejected() {
    let engine = llama();
    let claim = honest(&engine, request());
    let issued = Nonce::from_bytes([200; 32]);
    let expected = Reason::Nonce { claimed: NONCE, issued };
    assert_eq!(replay(&engine, &claim, Some(&issued)), Ok(Verdict::Reject(expected)));
    // Relabelled with the new nonce and its seed, the draws and the point no longer fit.
    let mut relabelled = claim;
    relabelled.nonce = issued;
    relabelled.seed = protocol::seed::derive_seed(&issued, &relabelled.client_seed);
    let verdict = replay(&engine, &relabelled, Some(&issued));
    assert_eq!(verdict, Ok(Verdict::Reject(Reason::LogitFingerprint { position: 0 })));
}

#[test]
fn false_endings_are_rejected() {
    let engine = llama();
    let mut stopping = request();
    stopping.settings.stop_at_end = true;
    stopping.settings.temperature_milli = 3000;
    stopping.settings.max_tokens = 100;
    let claim = (0..200_u8)
        .map(|number| {
            honest(&engine, Request { client_seed: ClientSeed::from_bytes([number; 32]), ..stopping.clone() })
        })
        .find(|claim| claim.finish == FinishReason::EndToken)
        .expect("some run ends by an end token");
    let tokens = claim.output_ids.len();

    let mut cut = claim.clone();
    cut.output_ids.truncate(tokens - 1);
    cut.fingerprints.truncate(tokens - 1);
    let verdict = judge(&engine, &cut);
    let expected = Reason::EndsEarly { claimed: FinishReason::EndToken, tokens: tokens as u32 - 1 };
    assert_eq!(verdict, Verdict::Reject(expected));

    let mut renamed = claim.clone();
    renamed.finish = FinishReason::Length;
    let expected = Reason::FinishReason { claimed: FinishReason::Length, computed: FinishReason::EndToken };
    assert_eq!(judge(&engine, &renamed), Verdict::Reject(expected));

    let mut unstopped = stopping;
    unstopped.settings.stop_at_end = false;
    unstopped.client_seed = claim.client_seed;
    unstopped.settings.max_tokens = tokens as u32 + 3;
    let mut longer = honest(&engine, unstopped);
    longer.settings.stop_at_end = true;
    longer.fingerprints = refingerprint(&engine, &engine, &longer);
    let expected = Reason::TokenAfterEnd { position: tokens as u32 };
    assert_eq!(judge(&engine, &longer), Verdict::Reject(expected));

    let mut text = claim;
    text.output_bytes.push(b'!');
    let offset = text.output_bytes.len() as u32 - 1;
    assert_eq!(judge(&engine, &text), Verdict::Reject(Reason::OutputBytes { offset }));
}

#[test]
fn statements_that_no_honest_run_makes_are_rejected() {
    let engine = llama();
    let claim = honest(&engine, request());
    let check = |change: &dyn Fn(&mut Claim), code: &str| {
        let mut forged = claim.clone();
        change(&mut forged);
        let verdict = judge(&engine, &forged);
        assert_eq!(verdict.code(), code, "{verdict}");
    };
    check(&|c| c.prompt_ids.clear(), "prompt_empty");
    check(&|c| c.prompt_ids[2] = 1 << 20, "prompt_token_out_of_vocabulary");
    check(&|c| c.prompt_ids = vec![5; 128], "context_exceeded");
    check(&|c| c.prompt_ids = vec![5; 127], "context_exceeded");
    check(&|c| c.settings.temperature_milli = 3, "setting_limit");
    check(&|c| c.settings.max_tokens = 4, "too_many_tokens");
    check(&|c| c.settings.top_k = 1, "logit_fingerprint");
    check(&|c| c.numerics = "maxwell-ie9".to_owned(), "numerics");
    check(&|c| c.template = Some(protocol::id::TemplateDigest::from_bytes([1; 32])), "template");
    let unknown = ModelCommitment::from_bytes([0; 32]);
    let mut other = claim.clone();
    other.model = unknown;
    assert_eq!(judge(&engine, &other), Verdict::Undecided(Missing::Model(unknown)));
}

/// Every byte of the encoded claim, changed in three ways: refused by the decoder or never accepted.
#[test]
fn no_changed_byte_is_accepted() {
    let engine = llama();
    let bytes = honest(&engine, request()).encode();
    let (mut refused, mut judged) = (0, 0);
    for index in 0..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut forged = bytes.clone();
            forged[index] ^= change;
            match Claim::decode(&forged) {
                Err(_) => refused += 1,
                Ok(claim) => {
                    judged += 1;
                    let verdict = judge(&engine, &claim);
                    assert_ne!(verdict, Verdict::Accept, "byte {index} changed by {change:#x}");
                }
            }
        }
    }
    println!("{} changes: {refused} refused by the decoder, {judged} judged, 0 accepted", refused + judged);
    assert!(refused > 0 && judged > 0);
}
