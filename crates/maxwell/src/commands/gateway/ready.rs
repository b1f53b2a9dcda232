//! Everything that `maxwell gateway` reads before it starts: the configuration and the files it names, all checked. Must
//! never write anything, so that `--check` can be run beside a gateway that runs.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use gateway::access::AccessRules;
use gateway::service::EpochSettings;
use gateway::tokenizer_file::{MAX_TOKENIZER_FILE_BYTES, open_tokenizer};
use protocol::group_tree::{GroupVerifier, MAX_OUTBOARD_BYTES, Outboard};
use protocol::whitelist::{AuthorizedEntry, MAX_SIGNED_WHITELIST_BYTES, SignedWhitelist, authorize};
use protocol::{SigningKey, VerifyingKey};
use serde_json::json;

use super::config::{Config, MAX_CONFIG_BYTES};
use super::keys;
use crate::commands::Shell;
use crate::commands::whitelist::{bundle_path, outboard_path};
use crate::home::read_bounded;
use crate::keys::{read_signing_key, read_verifying_key};
use crate::output::{Exit, Finished};
use crate::stack::{LOG_FOLDER, LOG_KEY_FILE, Whitelisted, read_log_key};

/// Longest path of a Unix socket.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// A configuration whose files are all there and right.
pub(super) struct Ready {
    /// The configuration's file.
    pub(super) path: PathBuf,
    pub(super) config: Config,
    pub(super) whitelisted: Whitelisted,
    pub(super) receipt_key: SigningKey,
    pub(super) rules: AccessRules,
    /// How epochs are cut, and who draws beacons.
    pub(super) epochs: EpochSettings,
    pub(super) log: LogPlace,
    /// Where the server connects.
    pub(super) link: PathBuf,
    /// Where recomputers connect.
    pub(super) recomputers: PathBuf,
}

/// Where the log is.
pub(super) struct LogPlace {
    pub(super) folder: PathBuf,
    pub(super) key_path: PathBuf,
    /// `None`: there is neither a key nor a log, and the first start makes both.
    pub(super) key: Option<[u8; 32]>,
}

impl Ready {
    /// Reads all of it.
    pub(super) fn read(path: &Path, shell: &Shell) -> anyhow::Result<Self> {
        let config = read_config(path)?;
        let at = |file: &Path| beside(path, file);
        let whitelisted = read_whitelisted(path, &config)?;
        let receipt_key =
            read_signing_key(&at(&config.receipt_key), shell.terminal).context("receipt_key")?;
        let log = read_log_place(path, &config)?;
        let socket = |given: &Option<PathBuf>, name: &str| {
            let path = given.as_ref().map_or_else(|| log.folder.join(name), |given| at(given));
            if path.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
                bail!(
                    "sockets: {} is longer than {MAX_SOCKET_PATH_BYTES} bytes, name a shorter one",
                    path.display()
                );
            }
            Ok(path)
        };
        let (link, recomputers) =
            (socket(&config.sockets.link, "link")?, socket(&config.sockets.recomputers, "lease")?);
        if link == recomputers {
            bail!("sockets: link and recomputers are the same");
        }
        let rules = read_rules(path, &config)?;
        let beacon_party = config.audit.beacon_party.as_deref();
        let beacon_party =
            beacon_party.map(|text| read_party(path, text)).transpose().context("audit.beacon_party")?;
        let epochs = EpochSettings { answers_max: config.audit.epoch_answers, beacon_party };
        Ok(Self {
            path: path.to_owned(),
            config,
            whitelisted,
            receipt_key,
            rules,
            epochs,
            log,
            link,
            recomputers,
        })
    }

    /// What `--check` says.
    pub(super) fn checked(&self) -> Finished {
        let entry = self.whitelisted.entry.entry();
        let keys = self.rules.keys.as_ref().map(|keys| keys.all().iter().filter(|key| !key.revoked).count());
        let who = keys.map_or_else(|| "everybody".to_owned(), |keys| format!("{keys} API keys"));
        Finished {
            exit: Exit::Ok,
            json: json!({
                "config": self.path,
                "address": self.config.address,
                "model": entry.name,
                "commitment": entry.model.to_string(),
                "api_keys": keys,
                "audit_rate_ppb": self.config.policy().rate_ppb,
                "new_log": self.log.key.is_none(),
                "starts_server": self.config.server.command.is_some(),
            }),
            text: format!(
                "{} is right: {} at {} for {who}, log in {}",
                self.path.display(),
                entry.name,
                self.config.address,
                self.log.folder.display()
            ),
        }
    }
}

/// Reads the configuration alone.
pub(super) fn read_config(path: &Path) -> anyhow::Result<Config> {
    let text = String::from_utf8(read_bounded(path, MAX_CONFIG_BYTES)?)
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    Config::parse(&text).with_context(|| path.display().to_string())
}

/// Who may ask, and how: what can change while the gateway runs.
pub(super) fn read_rules(path: &Path, config: &Config) -> anyhow::Result<AccessRules> {
    let keys = config.api_keys.as_ref().map(|file| keys::read(&beside(path, file)));
    let keys = keys.transpose().context("api_keys")?;
    Ok(AccessRules { keys, rates: config.limits, timeouts: config.timeouts() })
}

/// A file that a configuration names.
pub(super) fn beside(config: &Path, file: &Path) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join(file)
}

/// A public key: a file beside the configuration, or the key itself.
fn read_party(path: &Path, text: &str) -> anyhow::Result<VerifyingKey> {
    let file = beside(path, Path::new(text));
    let argument = if file.exists() { file.to_string_lossy().into_owned() } else { text.to_owned() };
    read_verifying_key(&argument)
}

fn read_whitelisted(path: &Path, config: &Config) -> anyhow::Result<Whitelisted> {
    let section = &config.whitelist;
    let list_path = beside(path, &section.file);
    let party = |text: &String| read_party(path, text).context("whitelist.parties");
    let [one, other] = section.parties.as_slice() else { bail!("whitelist.parties: give two") };
    let signed = SignedWhitelist::decode(&read_bounded(&list_path, MAX_SIGNED_WHITELIST_BYTES)?);
    let signed = signed.with_context(|| list_path.display().to_string())?;
    let parties = [party(one)?, party(other)?];
    let now_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let entry = authorize(&signed, &parties, now_unix_s, section.lowest_version)
        .and_then(|list| list.by_name(&config.model, now_unix_s))
        .with_context(|| format!("{} does not allow the model", list_path.display()))?;
    read_files(path, config, &list_path, entry)
}

/// What lies beside the list, and the weights' size; the weights themselves are checked as they are loaded.
fn read_files(
    path: &Path,
    config: &Config,
    list_path: &Path,
    entry: AuthorizedEntry,
) -> anyhow::Result<Whitelisted> {
    let about = entry.entry();
    let file =
        |given: &Option<PathBuf>, usual: PathBuf| given.as_ref().map_or(usual, |given| beside(path, given));
    let bundle_path = file(&config.whitelist.tokenizer, bundle_path(list_path, about));
    let outboard_path = file(&config.whitelist.outboard, outboard_path(list_path, about));
    let hint = "`maxwell whitelist add` writes it beside the list: copy it along, or name it in [whitelist]";
    let bundle = read_bounded(&bundle_path, MAX_TOKENIZER_FILE_BYTES).context(hint)?;
    let tokenizer = open_tokenizer(&bundle, &entry).with_context(|| bundle_path.display().to_string())?;
    let outboard = read_bounded(&outboard_path, MAX_OUTBOARD_BYTES).context(hint)?;
    let outboard = Outboard::decode(&outboard, &about.weights);
    let verifier = outboard
        .map_err(anyhow::Error::from)
        .and_then(|outboard| Ok(GroupVerifier::new(about.weights, outboard)?));
    let verifier = verifier.with_context(|| outboard_path.display().to_string())?;
    let weights = beside(path, &config.weights);
    let found =
        std::fs::metadata(&weights).with_context(|| format!("weights: can't read {}", weights.display()))?;
    if found.len() != about.weights.bytes {
        bail!(
            "weights: {} has {} bytes, and the listed {} has {}: it is another file",
            weights.display(),
            found.len(),
            about.name,
            about.weights.bytes
        );
    }
    Ok(Whitelisted { tokenizer, verifier, weights, entry })
}

fn read_log_place(path: &Path, config: &Config) -> anyhow::Result<LogPlace> {
    let folder = beside(path, &config.log.folder);
    let key_path = config.log.key.as_ref().map_or_else(|| folder.join(LOG_KEY_FILE), |key| beside(path, key));
    let is_there =
        |path: &Path| path.try_exists().with_context(|| format!("can't look for {}", path.display()));
    let key = if is_there(&key_path)? {
        Some(read_log_key(&key_path)?)
    } else if is_there(&folder.join(LOG_FOLDER))? {
        bail!(
            "log: {} is not there, and without it nobody can read the log in {}: bring it back, or name a new folder",
            key_path.display(),
            folder.display()
        );
    } else {
        None
    };
    Ok(LogPlace { folder, key_path, key })
}
