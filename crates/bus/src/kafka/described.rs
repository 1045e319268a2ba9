//! What the brokers say about a topic or a group and rdkafka 0.39 does not wrap: this module, and no other, calls C functions.
//!
//! * A topic's identity: the UUID that it was given when it was made (KIP-516). A topic that was deleted and made again has another one, and starts at
//!   offset 0 with other records.
//! * What this client may do with a topic or a group (KIP-430): nothing is tried for that, and nothing is left behind.

#![expect(unsafe_code, reason = "rdkafka 0.39 does not wrap DescribeTopics and DescribeConsumerGroups")]

use std::{
    ffi::{CStr, CString},
    ptr, slice,
    time::Duration,
};

use rdkafka::{
    bindings as c,
    client::{Client, ClientContext},
    error::{KafkaError as NativeError, RDKafkaErrorCode},
};

/// Asks the brokers for a topic's id, in the base64 form that Kafka's own tools print. `None` when there is no such topic. Blocks.
pub(crate) fn topic_id<C: ClientContext>(
    client: &Client<C>,
    name: &str,
    timeout: Duration,
) -> Result<Option<String>, NativeError> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    Answer::of_topic(client, &name, timeout)?.topic_id()
}

/// What may be done with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permissions {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// Asks what may be done with a topic; `None` when there is no such topic, or the brokers do not say. Blocks.
pub(crate) fn topic_permissions<C: ClientContext>(
    client: &Client<C>,
    name: &str,
    timeout: Duration,
) -> Result<Option<Permissions>, NativeError> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    let answer = Answer::of_topic(client, &name, timeout)?;
    let Some(topic) = answer.topic()? else { return Ok(None) };
    let mut count = 0;
    // SAFETY: the topic and its operations belong to the answer, which lives until the end of this function.
    Ok(unsafe { permissions(c::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count), count) })
}

/// Asks what may be done with a consumer group; `None` when there is no such group yet, or the brokers do not say. Blocks.
pub(crate) fn group_permissions<C: ClientContext>(
    client: &Client<C>,
    name: &str,
    timeout: Duration,
) -> Result<Option<Permissions>, NativeError> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    let mut names = [name.as_ptr()];
    let kind = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    // SAFETY: what `ask` hands over is valid for the call, and the names are copied by it.
    let answer = Answer::ask(client, kind, timeout, |(handle, options, queue)| unsafe {
        c::rd_kafka_DescribeConsumerGroups(handle, names.as_mut_ptr(), names.len(), options, queue);
    })?;
    // SAFETY: the event is not null; the groups and their operations belong to it, and it lives until the end of this function.
    unsafe {
        let mut count = 0;
        let described = c::rd_kafka_event_DescribeConsumerGroups_result(answer.event);
        if described.is_null() {
            return Ok(None);
        }
        let groups = c::rd_kafka_DescribeConsumerGroups_result_groups(described, &raw mut count);
        if groups.is_null() || count == 0 {
            return Ok(None);
        }
        match c::rd_kafka_error_code(c::rd_kafka_ConsumerGroupDescription_error(*groups)) {
            c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND => return Ok(None),
            other => return Err(NativeError::AdminOp(RDKafkaErrorCode::from(other))),
        }
        Ok(permissions(c::rd_kafka_ConsumerGroupDescription_authorized_operations(*groups, &raw mut count), count))
    }
}

/// The answer to one request, with everything that has to be given back.
struct Answer {
    queue: *mut c::rd_kafka_queue_t,
    event: *mut c::rd_kafka_event_t,
}

/// What a request is made with: the client, the request's options, and the queue that its answer comes to.
type Asking = (*mut c::rd_kafka_t, *mut c::rd_kafka_AdminOptions_t, *mut c::rd_kafka_queue_t);

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
    /// Asks for a topic, and what may be done with it.
    fn of_topic<C: ClientContext>(client: &Client<C>, name: &CStr, timeout: Duration) -> Result<Self, NativeError> {
        let mut names = [name.as_ptr()];
        let kind = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        // SAFETY: what `ask` hands over is valid for the call. The collection copies the names and is only read by `DescribeTopics`, so that it
        // may be destroyed after it.
        Self::ask(client, kind, timeout, |(handle, options, queue)| unsafe {
            let topics = c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            c::rd_kafka_DescribeTopics(handle, topics, options, queue);
            c::rd_kafka_TopicCollection_destroy(topics);
        })
    }

    /// Makes a request of one kind and waits for its answer; `request` sends it.
    fn ask<C: ClientContext>(
        client: &Client<C>,
        kind: c::rd_kafka_admin_op_t,
        timeout: Duration,
        request: impl FnOnce(Asking),
    ) -> Result<Self, NativeError> {
        let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let mut reason = [0; 256];
        // SAFETY: the client outlives the call. The options are only read by the request, so that they may be destroyed after it. The queue is
        // owned by the value that is returned, and the answer comes nowhere else. An error of the options is null or given back.
        unsafe {
            let handle = client.native_ptr();
            let mut answer = Self { queue: c::rd_kafka_queue_new(handle), event: ptr::null_mut() };
            let options = c::rd_kafka_AdminOptions_new(handle, kind);
            c::rd_kafka_AdminOptions_set_request_timeout(options, milliseconds, reason.as_mut_ptr(), reason.len());
            let refused = c::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
            if !refused.is_null() {
                c::rd_kafka_error_destroy(refused);
            }
            request((handle, options, answer.queue));
            c::rd_kafka_AdminOptions_destroy(options);
            // The request has its own timeout and always answers; this one is for a client that is being closed.
            answer.event = c::rd_kafka_queue_poll(answer.queue, milliseconds.saturating_add(1000));
            if answer.event.is_null() {
                return Err(NativeError::AdminOp(RDKafkaErrorCode::OperationTimedOut));
            }
            let error = c::rd_kafka_event_error(answer.event);
            if error != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(NativeError::AdminOp(RDKafkaErrorCode::from(error)));
            }
            Ok(answer)
        }
    }

    fn topic_id(&self) -> Result<Option<String>, NativeError> {
        let Some(topic) = self.topic()? else { return Ok(None) };
        // SAFETY: the topic belongs to the event, which lives as long as `self`; what is read of it is copied before it goes.
        unsafe {
            let text = c::rd_kafka_Uuid_base64str(c::rd_kafka_TopicDescription_topic_id(topic));
            if text.is_null() {
                return Ok(None);
            }
            Ok(Some(CStr::from_ptr(text).to_string_lossy().into_owned()))
        }
    }

    /// The topic that was asked for; `None` when there is none. It belongs to the answer.
    fn topic(&self) -> Result<Option<*const c::rd_kafka_TopicDescription_t>, NativeError> {
        // SAFETY: the event is not null and lives as long as `self`; what is read of it belongs to it.
        unsafe {
            let mut count = 0;
            let described = c::rd_kafka_event_DescribeTopics_result(self.event);
            if described.is_null() {
                return Ok(None);
            }
            let topics = c::rd_kafka_DescribeTopics_result_topics(described, &raw mut count);
            if topics.is_null() || count == 0 {
                return Ok(None);
            }
            match c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(*topics)) {
                c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(Some(*topics)),
                c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => Ok(None),
                other => Err(NativeError::AdminOp(RDKafkaErrorCode::from(other))),
            }
        }
    }
}

/// # Safety
/// `operations` is null, or so many operations lie there.
unsafe fn permissions(operations: *const c::rd_kafka_AclOperation_t, count: usize) -> Option<Permissions> {
    if operations.is_null() || count == 0 {
        return None;
    }
    // SAFETY: as the caller promises.
    let operations = unsafe { slice::from_raw_parts(operations, count) };
    let has = |operation| operations.contains(&operation) || operations.contains(&ALL);
    Some(Permissions {
        read: has(c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ),
        write: has(c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE),
    })
}

const ALL: c::rd_kafka_AclOperation_t = c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_ALL;
