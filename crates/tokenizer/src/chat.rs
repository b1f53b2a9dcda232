//! From a conversation to a prompt. It must never let the words of a user become, remove or change a control
//! token, whatever they are.

mod guard;
mod origin;
mod python;
mod template;

use crate::special::Found;
use crate::tokenizer::check_count;
use crate::{Error, MAX_TEXT_BYTES, Tokenizer};
pub use guard::MAX_TAG_TOKENS;
use origin::user_text;
pub(crate) use template::ChatTemplate;
use template::Context;

/// Most messages in a conversation.
pub const MAX_MESSAGES: usize = 1 << 14;
/// Most bytes in a rendered conversation.
pub const MAX_RENDERED_BYTES: usize = MAX_TEXT_BYTES;
/// Longest part of what a template says that an error quotes.
const MAX_MESSAGE_CHARS: usize = 200;
/// The roles a message can have. Not free text: templates build control tokens from them (`<|user|>`).
pub const KNOWN_ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who speaks; one of [`KNOWN_ROLES`].
    pub role: String,
    /// What they say: any text.
    pub content: String,
}

impl Tokenizer {
    /// Renders a conversation with the chat template of the model, for people to read. To encode it, use
    /// [`Tokenizer::encode_chat`]: in the text alone the words of users look like the template's own.
    ///
    /// # Errors
    /// [`Error::NoTemplate`], [`Error::UnknownRole`], [`Error::MessageCount`], [`Error::TextSize`], and each
    /// variant that speaks of the template.
    pub fn apply_chat_template(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        let contents: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
        self.render(messages, &contents, add_generation_prompt)
    }

    /// Encodes a conversation. Control tokens come from the template only: in the words of users their names
    /// are ordinary text. Where those hold no such name, the ids are those of the rendered text as a whole.
    /// `bos` comes first if the spec says so, once; `eos` is not added, as a reply is to follow.
    ///
    /// # Errors
    /// As [`Tokenizer::apply_chat_template`] and [`Tokenizer::encode`];
    /// [`Error::ControlTokenInMessage`] and [`Error::ControlTokensDependOnMessages`] if the template changes
    /// the messages in a way that cannot be followed.
    pub fn encode_chat(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, Error> {
        self.encode_chat_within(messages, add_generation_prompt, usize::MAX)
    }

    /// [`Self::encode_chat`] of a conversation that may have at most so many tokens.
    ///
    /// # Errors
    /// Those, and [`Error::TooManyTokens`].
    pub fn encode_chat_within(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
        most: usize,
    ) -> Result<Vec<u32>, Error> {
        let rendered = self.apply_chat_template(messages, add_generation_prompt)?;
        let contents: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
        let placeholders = origin::placeholders(&contents);
        let placeholders: Vec<&str> = placeholders.iter().map(String::as_str).collect();
        let skeleton = self.render(messages, &placeholders, add_generation_prompt);
        let skeleton = skeleton.map_err(|_| Error::ControlTokensDependOnMessages)?;
        let mut ids = Vec::new();
        match user_text(&rendered, &skeleton, &contents) {
            Some(user) => {
                let allow = |found| self.is_allowed(&rendered, found, &user);
                self.encode_into(&rendered, allow, &mut ids, most)?;
            }
            None => {
                self.check_whole(messages, &rendered, &skeleton)?;
                self.encode_into(&rendered, |_| true, &mut ids, most)?;
            }
        }
        let bos = self.spec().bos.filter(|bos| self.spec().add_bos && ids.first() != Some(bos));
        ids.splice(0..0, bos);
        check_count(ids, most)
    }

    fn render(
        &self,
        messages: &[ChatMessage],
        contents: &[&str],
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        let template = self.template()?;
        if messages.len() > MAX_MESSAGES {
            return Err(Error::MessageCount { count: messages.len(), max: MAX_MESSAGES });
        }
        let bytes = contents.iter().map(|content| content.len()).sum();
        if bytes > MAX_TEXT_BYTES {
            return Err(Error::TextSize { bytes, max: MAX_TEXT_BYTES });
        }
        if let Some(message) =
            messages.iter().position(|message| !KNOWN_ROLES.contains(&message.role.as_str()))
        {
            return Err(Error::UnknownRole { message, known: KNOWN_ROLES.join(", ") });
        }
        let spec = self.spec();
        let tokens = [
            ("bos_token", spec.bos),
            ("eos_token", spec.eos),
            ("unk_token", spec.unknown),
            ("pad_token", spec.padding),
        ];
        template.render(&Context {
            messages: messages
                .iter()
                .map(|message| message.role.as_str())
                .zip(contents.iter().copied())
                .collect(),
            add_generation_prompt,
            tokens: tokens.into_iter().filter_map(|(name, id)| Some((name, self.name(id)?))).collect(),
        })
    }

    /// Whether a special token may be taken where it was found, given which parts of the text users wrote.
    fn is_allowed(&self, text: &str, found: Found, user: &[origin::Range]) -> bool {
        let is_user_text = |found: &Found| origin::overlaps(user, found.start, found.end);
        if !self.special().is_user_defined(found.token) {
            return !is_user_text(&found);
        }
        // A user-defined token may span both, unless a control token of the template starts within it.
        let is_control = |inner: Found| !self.special().is_user_defined(inner.token) && !is_user_text(&inner);
        let spans_both = is_user_text(&found) && !origin::covers(user, found.start, found.end);
        let mut places = found.start..found.end;
        !(spans_both && places.any(|place| self.special().longest_at(text, place, is_control).is_some()))
    }

    /// Whether a rendered text may be encoded as a whole, although it is not known which parts users wrote.
    fn check_whole(&self, messages: &[ChatMessage], rendered: &str, skeleton: &str) -> Result<(), Error> {
        let holds = |message: &ChatMessage| self.control_tokens(&message.content).next().is_some();
        if let Some(message) = messages.iter().position(holds) {
            return Err(Error::ControlTokenInMessage { message });
        }
        // Names could still be put together from parts. The template writes the same ones for any words.
        if self.control_tokens(rendered).eq(self.control_tokens(skeleton)) {
            Ok(())
        } else {
            Err(Error::ControlTokensDependOnMessages)
        }
    }

    /// The control tokens that `text` would hold if all of it were the template's.
    fn control_tokens(&self, text: &str) -> impl Iterator<Item = u32> {
        let mut done = 0;
        let all = std::iter::from_fn(move || {
            let found = self.special().next(text, done, |_| true)?;
            done = found.end;
            Some(found.token)
        });
        all.filter(|token| !self.special().is_user_defined(*token))
    }
}
