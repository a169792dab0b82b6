//! JSON-RPC to bitcoind, synchronous, one connection at a time: only the owner thread uses it.
//! Owns the translation of errors; decides nothing.

use std::time::Duration;

use bitcoind::ConnectParams;
use jsonrpc::http::bitreq_http::Builder;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::to_raw_value;

use super::error::{ChainError, ProcessName};

/// No call the rig makes takes longer on regtest; a stopped bitcoind is noticed after this.
pub(super) const RPC_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls in one HTTP request; a block is some hundred bytes to some hundred kilobytes.
const BATCH_SIZE: usize = 500;

pub(super) struct Rpc {
    client: jsonrpc::Client,
}

impl Rpc {
    /// A client for the bitcoind the launcher started. Does not connect yet.
    pub(super) fn new(params: &ConnectParams) -> Result<Self, ChainError> {
        let (user, password) = cookie(params)?;
        let transport = Builder::new()
            .url(&format!("http://{}", params.rpc_socket))
            .map_err(|error| transport_error("connect", &error))?
            .timeout(RPC_TIMEOUT)
            .basic_auth(user, Some(password))
            .build();
        Ok(Self {
            client: jsonrpc::Client::with_transport(transport),
        })
    }

    /// Calls `method` once.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &[Value],
    ) -> Result<T, ChainError> {
        let params = to_raw_value(params).map_err(|error| unreadable(method, &error))?;
        let request = self.client.build_request(method, Some(&params));
        let answer = self
            .client
            .send_request(request)
            .and_then(|response| response.result());
        answer.map_err(|error| translate(method, error))
    }

    /// Calls `method` once for each of `all_params`, in order, in as few requests as possible.
    /// The first refusal is the error of the whole.
    pub(super) fn batch<T: DeserializeOwned>(
        &self,
        method: &str,
        all_params: &[Vec<Value>],
    ) -> Result<Vec<T>, ChainError> {
        let mut answers = Vec::with_capacity(all_params.len());
        for chunk in all_params.chunks(BATCH_SIZE) {
            let raw = chunk
                .iter()
                .map(to_raw_value)
                .collect::<Result<Vec<_>, _>>();
            let raw = raw.map_err(|error| unreadable(method, &error))?;
            let requests: Vec<_> = raw
                .iter()
                .map(|params| self.client.build_request(method, Some(params)))
                .collect();
            let responses = self
                .client
                .send_batch(&requests)
                .map_err(|error| translate(method, error))?;
            for response in responses {
                let response = response.ok_or_else(|| ChainError::UnreadableAnswer {
                    what: ProcessName::Bitcoind,
                    doing: method.to_owned(),
                    message: "a batch came back with an answer missing".to_owned(),
                })?;
                answers.push(
                    response
                        .result()
                        .map_err(|error| translate(method, error))?,
                );
            }
        }
        Ok(answers)
    }
}

/// User and password of the running bitcoind.
pub(super) fn cookie(params: &ConnectParams) -> Result<(String, String), ChainError> {
    let values = params
        .get_cookie_values()
        .map_err(|error| ChainError::from_io(&params.cookie_file, &error))?;
    let values = values.ok_or_else(|| ChainError::UnreadableAnswer {
        what: ProcessName::Bitcoind,
        doing: "its cookie file".to_owned(),
        message: "no colon between user and password".to_owned(),
    })?;
    Ok((values.user, values.password))
}

fn translate(method: &str, error: jsonrpc::Error) -> ChainError {
    match error {
        jsonrpc::Error::Rpc(refusal) => {
            if refusal.message.contains("No space left on device")
                || refusal.message.contains("Disk space is too low")
            {
                return ChainError::DiskFull {
                    what: ProcessName::Bitcoind,
                    line: refusal.message,
                };
            }
            ChainError::Rpc {
                method: method.to_owned(),
                message: refusal.message,
                code: refusal.code,
            }
        }
        jsonrpc::Error::Json(error) => unreadable(method, &error),
        other => transport_error(method, &other),
    }
}

fn unreadable(method: &str, error: &serde_json::Error) -> ChainError {
    ChainError::UnreadableAnswer {
        what: ProcessName::Bitcoind,
        doing: method.to_owned(),
        message: error.to_string(),
    }
}

fn transport_error(doing: &str, error: &dyn std::fmt::Display) -> ChainError {
    ChainError::Transport {
        what: ProcessName::Bitcoind,
        doing: doing.to_owned(),
        message: error.to_string(),
    }
}
