//! The name map: which tensor of the file is which weight, with its shape. Every tensor is read exactly once
//! or the file is refused.

use std::collections::BTreeSet;

use super::config::ModelConfig;
use super::family::Family;
use super::{BlockTensors, Tensors};
use crate::error::Error;
use crate::gguf::{Gguf, TensorInfo, TensorType};
use crate::weights::{Loss, Vector, Weights};

/// Per-frequency RoPE factors (Llama 3.1 and later), refused with a message of their own.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Reads all tensors and what rounding changed in each.
pub(super) fn read(
    gguf: &Gguf,
    config: &ModelConfig,
    family: &Family,
) -> Result<(Tensors, Vec<Loss>), Error> {
    if gguf.tensor(ROPE_FACTORS).is_some() {
        return Err(Error::RopeFactors);
    }
    let unread = gguf.tensors().iter().map(TensorInfo::name).collect();
    let mut reader = Reader { gguf, unread, losses: Vec::new() };
    let (vocab, width) = (config.vocab, config.width);
    let embedding = reader.matrix("token_embd.weight", vocab, width)?;
    let output =
        if config.tied_embeddings { None } else { Some(reader.matrix("output.weight", vocab, width)?) };
    let output_norm = reader.vector("output_norm.weight", width)?;
    let blocks =
        (0..config.blocks).map(|block| reader.block(block, config, family)).collect::<Result<_, _>>()?;
    if let Some(&tensor) = reader.unread.first() {
        return Err(Error::UnknownTensor { tensor: tensor.to_owned() });
    }
    Ok((Tensors { embedding, output, output_norm, blocks }, reader.losses))
}

struct Reader<'a> {
    gguf: &'a Gguf,
    unread: BTreeSet<&'a str>,
    losses: Vec<Loss>,
}

impl<'a> Reader<'a> {
    fn block(&mut self, block: u32, config: &ModelConfig, family: &Family) -> Result<BlockTensors, Error> {
        let (width, ff, head_dim) = (config.width, config.ff, config.head_dim);
        let (query, kv) = (config.query_width(), config.kv_width());
        let name = |part: &str| format!("blk.{block}.{part}");
        let weight = |part: &str| name(&format!("{part}.weight"));
        Ok(BlockTensors {
            attn_norm: self.vector(&weight("attn_norm"), width)?,
            q: self.matrix(&weight("attn_q"), query, width)?,
            k: self.matrix(&weight("attn_k"), kv, width)?,
            v: self.matrix(&weight("attn_v"), kv, width)?,
            o: self.matrix(&weight("attn_output"), width, query)?,
            q_bias: self.vector_if(family.qkv_bias, &name("attn_q.bias"), query)?,
            k_bias: self.vector_if(family.qkv_bias, &name("attn_k.bias"), kv)?,
            v_bias: self.vector_if(family.qkv_bias, &name("attn_v.bias"), kv)?,
            q_norm: self.vector_if(family.qk_norm, &weight("attn_q_norm"), head_dim)?,
            k_norm: self.vector_if(family.qk_norm, &weight("attn_k_norm"), head_dim)?,
            post_attn_norm: self.vector_if(family.post_norms, &weight("post_attention_norm"), width)?,
            ffn_norm: self.vector(&weight("ffn_norm"), width)?,
            gate: self.matrix(&weight("ffn_gate"), ff, width)?,
            up: self.matrix(&weight("ffn_up"), ff, width)?,
            down: self.matrix(&weight("ffn_down"), width, ff)?,
            post_ffn_norm: self.vector_if(family.post_norms, &weight("post_ffw_norm"), width)?,
        })
    }

    fn matrix(&mut self, name: &str, rows: u32, cols: u32) -> Result<Weights, Error> {
        let tensor = self.take(name, &[u64::from(cols), u64::from(rows)])?;
        match tensor.tensor_type() {
            TensorType::Block(kind) => {
                self.losses.push(Loss::none(name));
                Weights::from_blocks(name, kind, rows, cols, tensor.bytes().clone())
            }
            TensorType::Float(kind) => {
                let (weights, loss) =
                    Weights::from_floats(name, kind, rows, cols, tensor.bytes().as_slice())?;
                self.losses.push(loss);
                Ok(weights)
            }
        }
    }

    fn vector(&mut self, name: &str, length: u32) -> Result<Vector, Error> {
        let tensor = self.take(name, &[u64::from(length)])?;
        let TensorType::Float(kind) = tensor.tensor_type() else {
            return Err(Error::VectorType { tensor: name.to_owned() });
        };
        let vector = Vector::from_floats(name, kind, tensor.bytes().as_slice())?;
        self.losses.push(vector.loss().clone());
        Ok(vector)
    }

    fn vector_if(&mut self, present: bool, name: &str, length: u32) -> Result<Option<Vector>, Error> {
        if present { self.vector(name, length).map(Some) } else { Ok(None) }
    }

    fn take(&mut self, name: &str, dimensions: &[u64]) -> Result<&'a TensorInfo, Error> {
        let tensor =
            self.gguf.tensor(name).ok_or_else(|| Error::MissingTensor { tensor: name.to_owned() })?;
        if tensor.dimensions() != dimensions {
            let (expected, found) = (dimensions.to_vec(), tensor.dimensions().to_vec());
            return Err(Error::Shape { tensor: name.to_owned(), expected, found });
        }
        self.unread.remove(name);
        Ok(tensor)
    }
}
