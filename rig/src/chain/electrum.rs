//! A connection to electrs: JSON lines over TCP, requests batched, block notices kept as the
//! latest tip. Only what the rig reads back as evidence; it never broadcasts.

use std::time::Duration;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::{BlockHash, Script, Txid};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

use super::error::{ChainError, ProcessName};

/// Requests in one batch, which electrs answers with one line.
const BATCH_SIZE: usize = 200;

/// electrs scans its index for each history; a hundred of them take well under a second.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A subscribed connection. After an error or a cancelled request it must not be used again.
pub(super) struct Electrum {
    lines: Lines<BufReader<TcpStream>>,
    next_id: u64,
    tip: (u32, BlockHash),
}

impl Electrum {
    /// Connects to `address` (`127.0.0.1:port`) and subscribes to block notices.
    pub(super) async fn connect(address: &str) -> Result<Self, ChainError> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| lost("connect", &error))?;
        // Requests are small; waiting to fill a packet would cost up to 40 ms each.
        stream
            .set_nodelay(true)
            .map_err(|error| lost("connect", &error))?;
        let lines = BufReader::new(stream).lines();
        let tip = (0, BlockHash::all_zeros());
        let mut electrum = Self {
            lines,
            next_id: 0,
            tip,
        };
        electrum
            .request("server.version", vec![json!(["deadbolt", "1.4"])])
            .await?;
        let answers = electrum
            .request("blockchain.headers.subscribe", vec![json!([])])
            .await?;
        if let Some(header) = answers.first() {
            electrum.tip = read_tip(header)?;
        }
        Ok(electrum)
    }

    /// The newest tip electrs has told of: height and hash.
    pub(super) fn tip(&self) -> (u32, BlockHash) {
        self.tip
    }

    /// Waits for the next block notice; for ever if none comes.
    pub(super) async fn next_tip(&mut self) -> Result<(u32, BlockHash), ChainError> {
        loop {
            let message = self.read("blockchain.headers.subscribe").await?;
            if self.note_tip(&message)? {
                return Ok(self.tip);
            }
        }
    }

    /// A question without content, to see whether electrs is there.
    pub(super) async fn ping(&mut self) -> Result<(), ChainError> {
        self.request("server.ping", vec![json!([])]).await.map(drop)
    }

    /// Confirmed and unconfirmed transactions that touch each script, in the scripts' order.
    /// Heights are electrs's: 0 or -1 for unconfirmed.
    pub(super) async fn histories(
        &mut self,
        scripts: &[impl AsRef<Script>],
    ) -> Result<Vec<Vec<(Txid, i32)>>, ChainError> {
        #[derive(serde::Deserialize)]
        struct Entry {
            tx_hash: Txid,
            height: i32,
        }
        const METHOD: &str = "blockchain.scripthash.get_history";
        let params = scripts
            .iter()
            .map(|script| json!([script_hash(script.as_ref())]))
            .collect();
        let answers = self.request(METHOD, params).await?;
        let read = |answer: Value| {
            let entries: Vec<Entry> =
                serde_json::from_value(answer).map_err(|error| unreadable(METHOD, &error))?;
            Ok(entries
                .into_iter()
                .map(|entry| (entry.tx_hash, entry.height))
                .collect())
        };
        answers.into_iter().map(read).collect()
    }

    /// Sends one request per element of `params`, and returns the results in the same order.
    async fn request(
        &mut self,
        method: &str,
        params: Vec<Value>,
    ) -> Result<Vec<Value>, ChainError> {
        let mut results = Vec::with_capacity(params.len());
        for chunk in params.chunks(BATCH_SIZE) {
            match tokio::time::timeout(ANSWER_TIMEOUT, self.batch(method, chunk)).await {
                Ok(answers) => results.extend(answers?),
                Err(_) => {
                    return Err(ChainError::NotAnswering {
                        what: ProcessName::Electrs,
                        waited_ms: ANSWER_TIMEOUT.as_millis() as u64,
                        missing: format!("the answer to {method}"),
                    });
                }
            }
        }
        Ok(results)
    }

    async fn batch(&mut self, method: &str, params: &[Value]) -> Result<Vec<Value>, ChainError> {
        let first_id = self.next_id;
        self.next_id += params.len() as u64;
        let requests: Vec<Value> = (first_id..)
            .zip(params)
            .map(|(id, params)| {
                json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
            })
            .collect();
        let line = format!("{}\n", Value::Array(requests));
        let stream = self.lines.get_mut().get_mut();
        stream
            .write_all(line.as_bytes())
            .await
            .map_err(|error| lost(method, &error))?;
        let mut results: Vec<Option<Value>> = vec![None; params.len()];
        let mut missing = params.len();
        while missing > 0 {
            let message = self.read(method).await?;
            if self.note_tip(&message)? {
                continue;
            }
            let answers = match message {
                Value::Array(answers) => answers,
                single => vec![single],
            };
            for mut answer in answers {
                if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
                    let (method, message) = (method.to_owned(), error.to_string());
                    return Err(ChainError::Electrum { method, message });
                }
                let index = answer["id"]
                    .as_u64()
                    .and_then(|id| id.checked_sub(first_id));
                let slot = index.and_then(|index| results.get_mut(usize::try_from(index).ok()?));
                if let Some(slot @ None) = slot {
                    *slot = Some(answer["result"].take());
                    missing -= 1;
                }
            }
        }
        Ok(results.into_iter().flatten().collect())
    }

    async fn read(&mut self, doing: &str) -> Result<Value, ChainError> {
        // electrs holds a message back until the one before is acknowledged, which the kernel
        // does 40 ms late unless told otherwise before every read.
        let stream = self.lines.get_ref().get_ref();
        stream
            .set_quickack(true)
            .map_err(|error| lost(doing, &error))?;
        let line = self
            .lines
            .next_line()
            .await
            .map_err(|error| lost(doing, &error))?;
        let line = line.ok_or_else(|| lost(doing, &"electrs closed the connection"))?;
        serde_json::from_str(&line).map_err(|error| unreadable(doing, &error))
    }

    /// Takes a block notice in; false if the message is something else.
    fn note_tip(&mut self, message: &Value) -> Result<bool, ChainError> {
        if message["method"] != "blockchain.headers.subscribe" {
            return Ok(false);
        }
        self.tip = read_tip(&message["params"][0])?;
        Ok(true)
    }
}

/// Height and hash from `{"height": .., "hex": ..}`.
fn read_tip(header: &Value) -> Result<(u32, BlockHash), ChainError> {
    let doing = "blockchain.headers.subscribe";
    let height = header["height"]
        .as_u64()
        .and_then(|height| u32::try_from(height).ok());
    let height = height.ok_or_else(|| unreadable(doing, &format!("no height in {header}")))?;
    let hex = header["hex"].as_str().unwrap_or_default();
    let header: bitcoin::block::Header = bitcoin::consensus::encode::deserialize_hex(hex)
        .map_err(|error| unreadable(doing, &error))?;
    Ok((height, header.block_hash()))
}

/// Electrum's name for a script: the reversed SHA-256 of its bytes, in hex.
fn script_hash(script: &Script) -> String {
    let mut bytes = sha256::Hash::hash(script.as_bytes()).to_byte_array();
    bytes.reverse();
    // `Display` of the same hash type shows bytes in the order they are in.
    sha256::Hash::from_byte_array(bytes).to_string()
}

fn lost(doing: &str, error: &dyn std::fmt::Display) -> ChainError {
    ChainError::Transport {
        what: ProcessName::Electrs,
        doing: doing.to_owned(),
        message: error.to_string(),
    }
}

fn unreadable(doing: &str, error: &dyn std::fmt::Display) -> ChainError {
    ChainError::UnreadableAnswer {
        what: ProcessName::Electrs,
        doing: doing.to_owned(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_hash_is_the_one_the_electrum_protocol_documents() {
        // The protocol's own example: the genesis coinbase address 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa.
        let script =
            bitcoin::ScriptBuf::from_hex("76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac")
                .unwrap();
        let expected = "8b01df4e368ea28f8dc0423bcf7a4923e3a12d307c875e47a0cfbf90b5c39161";
        assert_eq!(script_hash(&script), expected);
    }

    #[tokio::test]
    async fn answers_out_of_order_and_notices_in_between_are_sorted_out() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).header;
        let hex = bitcoin::consensus::encode::serialize_hex(&genesis);
        let server = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.split();
            let mut lines = BufReader::new(reader).lines();
            for answer in [json!(["electrs", "1.4"]), json!({"height": 7, "hex": &hex})] {
                let request: Value =
                    serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
                let answer = json!([{"id": request[0]["id"], "result": answer}]);
                writer
                    .write_all(format!("{answer}\n").as_bytes())
                    .await
                    .unwrap();
            }
            let request: Value =
                serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
            let notice = json!({"method": "blockchain.headers.subscribe",
                "params": [{"height": 8, "hex": &hex}]});
            let entry = json!([{"tx_hash": Txid::all_zeros(), "height": 3}]);
            let answers = json!([
                {"id": request[1]["id"], "result": []},
                {"id": request[0]["id"], "result": entry},
            ]);
            let send = format!("{notice}\n{answers}\n");
            writer.write_all(send.as_bytes()).await.unwrap();
        };
        let client = async {
            let mut electrum = Electrum::connect(&address).await.unwrap();
            assert_eq!(electrum.tip(), (7, genesis.block_hash()));
            let scripts = [bitcoin::ScriptBuf::new(), bitcoin::ScriptBuf::new()];
            let histories = electrum.histories(&scripts).await.unwrap();
            assert_eq!(histories, [vec![(Txid::all_zeros(), 3)], vec![]]);
            assert_eq!(electrum.tip().0, 8);
            let error = electrum.next_tip().await.unwrap_err();
            assert!(
                error.to_string().contains("closed the connection"),
                "{error}"
            );
        };
        tokio::join!(server, client);
    }
}
