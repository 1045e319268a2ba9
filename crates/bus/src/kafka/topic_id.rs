//! A topic's identity on Kafka: the UUID that it was given when it was made (KIP-516).
//!
//! A topic that was deleted and made again has another one, and starts at offset 0 with other records. librdkafka knows it from
//! `DescribeTopics`, which rdkafka 0.39 does not wrap; so this module, and no other, calls C functions.

#![expect(unsafe_code, reason = "rdkafka 0.39 does not wrap DescribeTopics")]

use std::{
    ffi::{CStr, CString},
    ptr,
    time::Duration,
};

use rdkafka::{
    bindings as c,
    client::{Client, ClientContext},
    error::{KafkaError as NativeError, RDKafkaErrorCode},
};

/// Asks the brokers for a topic's id, in the base64 form that Kafka's own tools print. `None` when there is no such topic. Blocks.
pub(crate) fn fetch<C: ClientContext>(client: &Client<C>, name: &str, timeout: Duration) -> Result<Option<String>, NativeError> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    let answer = Answer::ask(client, &name, timeout)?;
    answer.topic_id()
}

/// The answer to one `DescribeTopics`, with everything that has to be given back.
struct Answer {
    queue: *mut c::rd_kafka_queue_t,
    event: *mut c::rd_kafka_event_t,
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: both were made by `ask`, are not null or allowed to be, and are used nowhere after.
        unsafe {
            if !self.event.is_null() {
                c::rd_kafka_event_destroy(self.event);
            }
            c::rd_kafka_queue_destroy(self.queue);
        }
    }
}

impl Answer {
    fn ask<C: ClientContext>(client: &Client<C>, name: &CStr, timeout: Duration) -> Result<Self, NativeError> {
        let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let mut names = [name.as_ptr()];
        let mut reason = [0; 256];
        // SAFETY: the client outlives the call. The collection copies the names and, like the options, is only read by `DescribeTopics`, so
        // that both may be destroyed after it. The queue is owned by the value that is returned, and the answer comes nowhere else.
        unsafe {
            let mut answer = Self { queue: c::rd_kafka_queue_new(client.native_ptr()), event: ptr::null_mut() };
            let options =
                c::rd_kafka_AdminOptions_new(client.native_ptr(), c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
            c::rd_kafka_AdminOptions_set_request_timeout(options, milliseconds, reason.as_mut_ptr(), reason.len());
            let topics = c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            c::rd_kafka_DescribeTopics(client.native_ptr(), topics, options, answer.queue);
            c::rd_kafka_TopicCollection_destroy(topics);
            c::rd_kafka_AdminOptions_destroy(options);
            // The request has its own timeout and always answers; this one is for a client that is being closed.
            answer.event = c::rd_kafka_queue_poll(answer.queue, milliseconds.saturating_add(1000));
            if answer.event.is_null() {
                return Err(NativeError::AdminOp(RDKafkaErrorCode::OperationTimedOut));
            }
            Ok(answer)
        }
    }

    fn topic_id(&self) -> Result<Option<String>, NativeError> {
        let failed = |code: c::rd_kafka_resp_err_t| NativeError::AdminOp(RDKafkaErrorCode::from(code));
        // SAFETY: the event is not null and lives as long as `self`; what is read of it belongs to it, and is copied before it goes.
        unsafe {
            let error = c::rd_kafka_event_error(self.event);
            if error != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(failed(error));
            }
            let mut count = 0;
            let described = c::rd_kafka_event_DescribeTopics_result(self.event);
            if described.is_null() {
                return Ok(None);
            }
            let topics = c::rd_kafka_DescribeTopics_result_topics(described, &raw mut count);
            if topics.is_null() || count == 0 {
                return Ok(None);
            }
            let topic = *topics;
            let error = c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(topic));
            match error {
                c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => return Ok(None),
                other => return Err(failed(other)),
            }
            let text = c::rd_kafka_Uuid_base64str(c::rd_kafka_TopicDescription_topic_id(topic));
            if text.is_null() {
                return Ok(None);
            }
            Ok(Some(CStr::from_ptr(text).to_string_lossy().into_owned()))
        }
    }
}
