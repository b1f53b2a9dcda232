//! Routing against lists, loads and gateways that answer for another model.

use protocol::group_tree::GroupTree;
use protocol::receipt::{FinishCode, RECEIPT_VERSION, ReceiptMode, RequestTag, response_digest};
use protocol::refusal::RefusalReason;
use protocol::whitelist::{AuthorizedWhitelist, Whitelist, WhitelistEntry, authorize};
use protocol::{ChainHash, ClaimDigest, ModelCommitment, Nonce, Receipt, RequestDigest, SigningKey};
use recomputer::router::{Attempt, GatewayState, Refused, Substitution, check_answer, refused_by_all, route};

const NOW: u64 = 1_790_000_000;
/// Until a model is loaded.
const LOAD_S: u32 = 300;

fn model(number: u8) -> ModelCommitment {
    ModelCommitment::from_bytes([number; 32])
}

fn entry(name: &str, number: u8) -> WhitelistEntry {
    WhitelistEntry {
        name: name.to_owned(),
        model: model(number),
        numerics: "test".to_owned(),
        template: None,
        weights: GroupTree::of(&[number]).head,
        tokenizer_digest: [0; 32],
        vocabulary: 100,
        context: 100,
        version: 1,
    }
}

fn list() -> AuthorizedWhitelist {
    let keys = [SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32])];
    let list = Whitelist {
        version: 1,
        entries: vec![entry("large", 1), entry("old", 3), entry("small", 2)],
        expires_unix_s: Some(NOW + 10),
        revoked: vec![model(3)],
    };
    let signed = list.sign(&[&keys[0], &keys[1]]).unwrap();
    authorize(&signed, &keys.map(|key| key.verifying_key()), NOW, 0).unwrap()
}

fn serving(number: u8, in_flight: u64) -> Option<GatewayState> {
    Some(GatewayState { model: model(number), is_serving: true, in_flight })
}

#[track_caller]
fn check(
    name: &str,
    now_unix_s: u64,
    gateways: &[Option<GatewayState>],
    expected: Result<&[usize], Refused>,
) {
    let routed = route(name, &list(), now_unix_s, gateways, LOAD_S);
    assert_eq!(routed.as_ref().map(|routed| &routed.gateways[..]).map_err(|refused| *refused), expected);
    if let Ok(routed) = routed {
        assert_eq!(routed.entry.entry().name, name);
    }
}

fn refused(reason: RefusalReason, retry_after_s: Option<u32>) -> Result<&'static [usize], Refused> {
    Err(Refused { reason, retry_after_s })
}

#[test]
fn an_input_goes_to_gateways_of_its_model_only() {
    let gateways = [serving(2, 0), serving(1, 5), None, serving(1, 1), serving(1, 5)];
    check("large", NOW, &gateways, Ok(&[3, 1, 4]));
    check("small", NOW, &gateways, Ok(&[0]));
    // Names are what the list says: case, spaces and look-alikes are other names.
    for name in ["Large", "large ", "laгge", "", "unheard"] {
        check(name, NOW, &gateways, refused(RefusalReason::NotWhitelisted, None));
    }
}

#[test]
fn refusals_come_in_their_order() {
    let all = [serving(1, 0), serving(2, 0), serving(3, 0)];
    check("old", NOW, &all, refused(RefusalReason::Revoked, None));
    // The last second and the first one after it.
    check("large", NOW + 9, &all, Ok(&[0]));
    check("large", NOW + 10, &all, refused(RefusalReason::Expired, None));
    let away = Some(GatewayState { is_serving: false, ..serving(1, 0).unwrap() });
    for gateways in [vec![], vec![None], vec![away, serving(2, 0)]] {
        check("large", NOW, &gateways, refused(RefusalReason::NotServed, Some(LOAD_S)));
    }
}

#[test]
fn who_asked_all_in_vain_hears_the_soonest_hope() {
    let full = |retry_after_s| Attempt::Full { retry_after_s };
    let away = |retry_after_s| Attempt::Away { retry_after_s };
    let check = |attempts: &[Attempt], reason, retry_after_s| {
        assert_eq!(refused_by_all(attempts, LOAD_S), Refused { reason, retry_after_s });
    };
    check(&[full(9), full(3), away(1)], RefusalReason::Busy, Some(3));
    check(&[away(20), away(10)], RefusalReason::NotServed, Some(10));
    check(&[], RefusalReason::NotServed, Some(LOAD_S));
    check(&[full(0)], RefusalReason::Busy, Some(1));
    check(&[full(1), Attempt::Substituted, away(1)], RefusalReason::Substituted, None);
}

const BODY: &[u8] = b"{\"model\":\"large\"}";

fn receipt() -> Receipt {
    Receipt {
        version: RECEIPT_VERSION,
        gateway: gateway().verifying_key().id(),
        tag: RequestTag { counter: 7, nonce: Nonce::from_bytes([1; 32]) },
        model: model(1),
        template: None,
        request: RequestDigest::from_bytes([4; 32]),
        response: response_digest(BODY),
        prompt_tokens: 1,
        output_tokens: 1,
        finish: FinishCode::Length,
        claim: Some(ClaimDigest::from_bytes([6; 32])),
        chain: ChainHash::from_bytes([7; 32]),
        sequence: 1,
        issued_unix_ms: 1,
        mode: ReceiptMode::Exact,
    }
}

fn gateway() -> SigningKey {
    SigningKey::from_seed([5; 32])
}

fn judge(receipt: &[u8], tag: u64, body: &[u8], names: &[&str]) -> Result<Receipt, Substitution> {
    let asked = list().by_name("large", NOW).unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    check_answer(&asked, &gateway().verifying_key(), tag, receipt, body, &names)
}

#[test]
fn an_answer_of_another_model_is_not_passed_on() {
    let sign = |receipt: Receipt| receipt.sign(&gateway()).unwrap();
    assert_eq!(judge(&sign(receipt()), 7, BODY, &["large", "large"]), Ok(receipt()));
    // The model that answered is another one, and the gateway says so.
    let (found, asked) = (model(2), model(1));
    assert_eq!(
        judge(&sign(Receipt { model: found, ..receipt() }), 7, BODY, &["large"]),
        Err(Substitution::OtherModel { found, asked })
    );
    // An earlier receipt of the right model, shown for this answer.
    assert_eq!(
        judge(&sign(receipt()), 8, BODY, &[]),
        Err(Substitution::OtherAnswer { found: 7, expected: 8 })
    );
    assert_eq!(judge(&sign(receipt()), 7, b"{\"model\":\"large\" }", &[]), Err(Substitution::OtherBytes));
    // Only the name in the body gives it away.
    let other = Substitution::OtherName { found: "small".to_owned(), asked: "large".to_owned() };
    assert_eq!(judge(&sign(receipt()), 7, BODY, &["large", "small"]), Err(other));
    // No receipt, and one of another gateway.
    assert!(matches!(judge(b"", 7, BODY, &[]), Err(Substitution::NoReceipt(_))));
    let stranger = SigningKey::from_seed([6; 32]);
    let forged = Receipt { gateway: stranger.verifying_key().id(), ..receipt() }.sign(&stranger).unwrap();
    assert!(matches!(judge(&forged, 7, BODY, &[]), Err(Substitution::NoReceipt(_))));
}
