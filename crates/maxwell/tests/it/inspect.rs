//! `maxwell inspect` on tiny models, against figures computed by hand from their shapes.

use model::import::Architecture;
use model::synthetic::SyntheticModel;
use serde_json::{Value, json};

use crate::program::{Stage, read_claim, tiny};

#[test]
fn the_json_holds_identity_shapes_formats_bounds_and_costs() {
    let stage = Stage::new();
    let model = stage.tiny();
    let json = stage.run(&["inspect", &model, "--json"]).expect(0).json();
    let claim = read_claim(&stage.claim(&model, &[]));
    assert_eq!(json["commitment"], claim.model.to_string());
    assert_eq!(json["template_digest"], claim.template.unwrap().to_string());
    assert_eq!(json["numerics"], claim.numerics);
    assert_eq!(json["weights_root"].as_str().unwrap().len(), 64);
    assert_eq!(json["shapes"]["architecture"], "llama");
    assert_eq!(json["shapes"]["vocabulary"], 384);
    // Two blocks: q and o 64 x 64, k and v 32 x 64, three of 64 x 128; logits 384 x 64.
    let macs = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128) + 384 * 64;
    assert_eq!(json["macs_per_token"], macs);
    // Norms: two per block and the last one.
    assert_eq!(json["parameters"], macs + 5 * 64);
    assert_eq!(json["attention_macs_per_position"], 2 * 2 * 64);
    let blocks = json["formats"]["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        assert_eq!(
            (&block["query_raw"], &block["key_raw"]),
            (&Value::Null, &Value::Null),
            "llama has no such site"
        );
        for site in ["query", "key", "value", "gate", "down_input", "gate_limit_bits"] {
            assert!(block[site].is_i64(), "{site}");
        }
    }
    assert!(json["formats"]["residual"].is_i64());
    let bounds = json["bounds"].as_array().unwrap();
    assert!(bounds.iter().any(|bound| bound["what"] == "blk.1.ffn_down.weight"));
    assert!(bounds.iter().all(|bound| bound["bits"].as_u64().unwrap() <= 62));
    assert!(json["packed_bytes"].as_u64().unwrap() > 0);
    assert!(json["calibration"]["tokens"].as_u64().unwrap() > 0);
}

#[test]
fn a_model_with_head_norms_has_their_sites() {
    let stage = Stage::new();
    let model = stage.write("m.gguf", &SyntheticModel::tiny(Architecture::Qwen3).gguf());
    let json = stage.run(&["inspect", &model, "--json"]).expect(0).json();
    assert!(json["formats"]["blocks"][0]["query_raw"].is_i64());
    assert_eq!(json["shapes"]["qk_norm"], json!(true));
}

#[test]
fn the_text_names_the_commitment_and_every_kind_of_bound() {
    let stage = Stage::new();
    let model = stage.write("m.gguf", &tiny().gguf());
    let short = stage.run(&["inspect", &model]).expect(0).stdout;
    let commitment =
        stage.run(&["inspect", &model, "--json"]).json()["commitment"].as_str().unwrap().to_owned();
    assert!(short.contains(&commitment), "{short}");
    for word in ["attention scores", "ffn_up.weight", "exact", "calibrated on", "MACs"] {
        assert!(short.contains(word), "{word}: {short}");
    }
    let long = stage.run(&["inspect", &model, "--verbose"]).expect(0).stdout;
    assert!(long.contains("blk.1.ffn_up.weight") && !short.contains("blk.1.ffn_up.weight"));
}
