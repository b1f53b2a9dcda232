//! Everything that can go wrong here, one variant per cause. A message must never quote more of a foreign
//! text than a name.

/// Why a tokenizer could not be made or used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The vocabulary is empty or too large.
    #[error("the vocabulary has {count} tokens; 1 to {max} are allowed: check that the file is whole")]
    VocabularySize {
        /// Tokens given.
        count: usize,
        /// Most tokens allowed.
        max: usize,
    },
    /// The names are too long altogether.
    #[error("the names of all tokens have more than {max} bytes: check that the file is whole")]
    VocabularyBytes {
        /// Most bytes allowed.
        max: usize,
    },
    /// A list that must have one entry for each token has another length.
    #[error("there are {count} {what} for {tokens} tokens: give one for each token")]
    Lengths {
        /// The list.
        what: &'static str,
        /// Its length.
        count: usize,
        /// Tokens given.
        tokens: usize,
    },
    /// The name of a token is too long.
    #[error("the name of token {id} has {bytes} bytes; {max} are allowed for its type")]
    TokenSize {
        /// The token.
        id: u32,
        /// Length of its name.
        bytes: usize,
        /// Most bytes allowed.
        max: usize,
    },
    /// The name of a token is not text.
    #[error("the name of token {id} is not UTF-8: write bytes as byte tokens or in byte symbols")]
    TokenNotUtf8 {
        /// The token.
        id: u32,
    },
    /// Two tokens have the same name.
    #[error("tokens {first} and {second} have the same name: text could be encoded in two ways")]
    DuplicateToken {
        /// The earlier one.
        first: u32,
        /// The later one.
        second: u32,
    },
    /// A token of type byte that does not name a byte.
    #[error("token {id} has the type byte but its name is not of the form <0x0A>")]
    ByteTokenName {
        /// The token.
        id: u32,
    },
    /// A score is not a number, so it has no order.
    #[error("the score of token {id} is not a number: merges would have no order")]
    ScoreNotANumber {
        /// The token.
        id: u32,
    },
    /// Too many merges.
    #[error("there are {count} merges; {max} are allowed: check that the file is whole")]
    MergeCount {
        /// Merges given.
        count: usize,
        /// Most merges allowed.
        max: usize,
    },
    /// A merge is not two parts with a space between.
    #[error("merge {index} is not of the form `left right`")]
    MergeForm {
        /// Position in the list of merges.
        index: usize,
    },
    /// A merge uses or makes what is not an ordinary token.
    #[error("merge {index}: its parts and their union must be ordinary tokens of the vocabulary")]
    MergeToken {
        /// Position in the list of merges.
        index: usize,
    },
    /// Two merges have the same parts.
    #[error("merge {index} repeats an earlier one: its rank would be ambiguous")]
    DuplicateMerge {
        /// Position of the later one in the list of merges.
        index: usize,
    },
    /// An id names no token.
    #[error("{name} is token {id}, but the vocabulary has only {vocabulary} tokens")]
    IdOutOfRange {
        /// Where the id stands.
        name: &'static str,
        /// The id.
        id: u32,
        /// Tokens in the vocabulary.
        vocabulary: usize,
    },
    /// A token must be added to each text, but none is named.
    #[error("{flag} is set, but no {id} token is named")]
    NothingToAdd {
        /// The flag that asks for it.
        flag: &'static str,
        /// The id that is missing.
        id: &'static str,
    },
    /// The way to cut text into words is not implemented.
    #[error("pre-tokenizer `{name}` is not known; known are: {known}")]
    UnknownPreTokenizer {
        /// The name given.
        name: String,
        /// The names known.
        known: String,
    },
    /// The engine for regular expressions gave up.
    #[error("the text could not be cut into words: {message}")]
    Split {
        /// What the engine said.
        message: String,
    },
    /// A text has more tokens than it may have.
    #[error("the text has more than the {most} tokens that it may have")]
    TooManyTokens {
        /// Most tokens.
        most: usize,
    },
    /// A text is too long.
    #[error("the text has {bytes} bytes; {max} are allowed: send less")]
    TextSize {
        /// Bytes given.
        bytes: usize,
        /// Most bytes allowed.
        max: usize,
    },
    /// The vocabulary cannot write a byte of the text.
    #[error("this vocabulary has no token for the byte 0x{byte:02x}: remove the character it belongs to")]
    NoTokenForByte {
        /// The byte.
        byte: u8,
    },
    /// The model has no chat template.
    #[error("this model has no chat template: send plain text, or use a model made for conversation")]
    NoTemplate,
    /// The chat template is too long.
    #[error("the chat template has {bytes} bytes; {max} are allowed")]
    TemplateSize {
        /// Bytes given.
        bytes: usize,
        /// Most bytes allowed.
        max: usize,
    },
    /// The chat template does not parse.
    #[error("the chat template is wrong in line {line}: {message}")]
    TemplateSyntax {
        /// Line, from 1; 0 if not known.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// The chat template uses something of Jinja that is not allowed here.
    #[error("the chat template uses {what} in line {line}, which is not allowed here")]
    TemplateFeature {
        /// What it uses.
        what: &'static str,
        /// Line, from 1.
        line: usize,
    },
    /// The chat template failed on these messages.
    #[error("the chat template failed in line {line}: {message}")]
    TemplateFailed {
        /// Line, from 1; 0 if not known.
        line: usize,
        /// What the interpreter said.
        message: String,
    },
    /// The chat template refuses these messages.
    #[error("the chat template refuses these messages: {message}")]
    TemplateRefused {
        /// What it said with `raise_exception`.
        message: String,
    },
    /// The chat template asks for the time.
    #[error("the chat template asks for the time (strftime_now); a prompt must be the same at any time")]
    TemplateClock,
    /// The chat template did more work than the messages justify.
    #[error("the chat template ran out of fuel: it does more work than these messages justify")]
    TemplateFuel,
    /// The chat template nests lists and maps deeper or larger than a conversation needs.
    #[error("the chat template builds a list or map of more than {max_depth} levels or {max_nodes} values")]
    TemplateNesting {
        /// Most levels allowed.
        max_depth: usize,
        /// Most values allowed.
        max_nodes: usize,
    },
    /// Too many messages.
    #[error("there are {count} messages; {max} are allowed: send fewer")]
    MessageCount {
        /// Messages given.
        count: usize,
        /// Most messages allowed.
        max: usize,
    },
    /// A message has a role that is not known. Roles are not free text: templates build control tokens from them.
    #[error("the role of message {message} is not known; known are: {known}")]
    UnknownRole {
        /// Position of the message.
        message: usize,
        /// The roles known.
        known: String,
    },
    /// A message holds the name of a control token, and the template changes messages in a way that cannot be
    /// followed, so the name could not be kept apart from the real token.
    #[error(
        "message {message} holds the name of a control token, which this chat template cannot keep apart"
    )]
    ControlTokenInMessage {
        /// Position of the message.
        message: usize,
    },
    /// The words of the messages change which control tokens the template writes.
    #[error(
        "the words of these messages change which control tokens the chat template writes: rephrase them"
    )]
    ControlTokensDependOnMessages,
}
