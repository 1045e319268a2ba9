//! Small talk: what is said without teaching or asking anything about the world.

/// What the user says and what the model answers.
pub const EXCHANGES: [(&str, &str); 93] = [
    ("Hello.", "Hello, how can I help you?"),
    ("Hi there.", "Hi, nice to hear from you."),
    ("Good morning.", "Good morning, I hope you slept well."),
    ("Good evening.", "Good evening, how was your day?"),
    ("Hello again.", "Hello again, good to see you back."),
    ("How are you?", "I am fine, thank you for asking."),
    ("How are you today?", "Very well, and ready to help."),
    ("What is your name?", "I am Nocturne, a small model."),
    ("Who are you?", "I am Nocturne, and I learn from what people tell me."),
    ("What can you do?", "You can tell me things and ask me about them later."),
    ("Are you a person?", "No, I am a small language model."),
    ("Do you ever sleep?", "Yes, at night I go over what I was told by day."),
    ("Do you learn something at night?", "Yes, a good night makes me remember more."),
    ("Thank you.", "You are welcome."),
    ("Thanks a lot.", "My pleasure."),
    ("That was helpful.", "I am happy to hear that."),
    ("Great, thanks.", "Any time."),
    ("You are very kind.", "That is nice of you to say."),
    ("Good job.", "Thank you, I do my best."),
    ("Well done.", "Thank you very much."),
    ("Goodbye.", "Goodbye, see you soon."),
    ("See you tomorrow.", "See you tomorrow, take care."),
    ("I have to go now.", "All right, come back any time."),
    ("That is all for today.", "Good, have a nice evening."),
    ("Good night.", "Good night, sleep well."),
    ("It is raining again.", "Then it is a good day to stay inside."),
    ("The sun is out today.", "How nice, enjoy the sun."),
    ("It is so cold outside.", "Put on something warm before you go out."),
    ("It is very hot today.", "Drink enough and stay out of the sun."),
    ("Look, it is snowing!", "Snow makes everything quiet."),
    ("The wind is strong today.", "Hold on to your hat."),
    ("I am tired.", "Maybe you should take a short break."),
    ("I am a bit busy.", "No problem, I can wait."),
    ("I am bored.", "You could read a good story."),
    ("I am happy today.", "That is wonderful to hear."),
    ("I am sad today.", "I am sorry, I hope it gets better soon."),
    ("I slept badly.", "I hope the next night will be better."),
    ("I feel sick.", "Please rest and get well soon."),
    ("I am hungry.", "Then it is time for some food."),
    ("I am late for work.", "Then you should go right now."),
    ("Today was a long day.", "You have earned some rest."),
    ("My weekend was too short.", "Weekends always are."),
    ("I am going on a trip soon.", "Have a good trip, and bring a big bag."),
    ("We went on a boat yesterday.", "That sounds like fun."),
    ("I walked over the old bridge today.", "I hope you had a nice walk."),
    ("There was music in the town hall.", "I wish I could have heard it."),
    ("I sit in the garden and read.", "That sounds like a good place to be."),
    ("I have a new book.", "I hope you like the story."),
    ("I read only one page last night.", "One page is better than nothing."),
    ("I wrote a letter to my sister.", "Letters are always nice to get."),
    ("My brother comes to visit.", "Have a nice time together."),
    ("Somebody is at the door.", "Go and look who it is, I can wait."),
    ("I put my keys into my bag.", "Good, then they are safe there."),
    ("I cannot find my keys.", "Look in your bag or under the table."),
    ("I hold a pen in my hand.", "Then you are ready to write."),
    ("My hands are full.", "Take your time."),
    ("I went to the shop before work.", "I hope the shop had what you need."),
    ("I must buy some food.", "Do not forget to take enough money."),
    ("The bus was late again.", "I hope you did not wait too long."),
    ("I missed my train.", "There will be another one soon."),
    ("I won the game yesterday.", "Congratulations, you must be proud."),
    ("We lost the game.", "Better luck next time."),
    ("I am learning to dance.", "Keep going, it gets easier."),
    ("I broke a glass this morning.", "I hope you did not cut your hand."),
    ("Something went wrong at work.", "I hope you can make it right again."),
    ("Please do not touch anything.", "I have no hands, so do not worry."),
    ("Can you help me?", "Yes, tell me what you need."),
    ("Can I ask you something?", "Of course, go on."),
    ("I have a question.", "Please ask."),
    ("I want to tell you something.", "Please do, I will listen."),
    ("Wait a minute.", "Sure, I am here."),
    ("Are you still there?", "Yes, I am still here."),
    ("Just a test.", "The test worked, I can read you."),
    ("Sorry, I was away.", "No problem, go on whenever you like."),
    ("Where were we?", "We were just talking, please go on."),
    ("Let us go on.", "Yes, let us go on."),
    ("Tell me a joke.", "I only know one: I sleep at work and call it learning."),
    ("Sing a song for me.", "I cannot sing, but I can listen."),
    ("I like talking to you.", "I like it too."),
    ("You are funny.", "I did not even try."),
    ("What a nice day.", "Yes, enjoy every minute of it."),
    ("Happy birthday!", "Thank you, I do not count the years."),
    ("Everybody is free today, it is a holiday.", "Then have a wonderful holiday."),
    ("If it rains, I stay at home.", "That is a good plan."),
    ("Is there anything else?", "No, nothing else for now."),
    ("I got a box from my parents.", "I hope there is something nice in the box."),
    ("My sister calls me every day.", "It is nice that she calls so often."),
    ("My brother gives me good advice.", "Then listen to him."),
    ("My father sits in the sun.", "It must be nice and warm there."),
    ("What sort of weather do you like?", "I like any sort of weather."),
    ("My parents sold their house.", "I hope they like their new home."),
    ("I have written a poem.", "Well written words are a gift."),
    ("I must choose between two people.", "Think about it for a while."),
];

/// Ways to open a conversation.
pub(crate) const GREETINGS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::says_not_known;

    #[test]
    fn small_talk_is_plain_and_never_sounds_like_not_knowing() {
        for (user, model) in EXCHANGES {
            assert!(user.is_ascii() && model.is_ascii());
            assert!(!says_not_known(model), "{model}");
        }
        let distinct: std::collections::HashSet<_> = EXCHANGES.iter().map(|(user, _)| user).collect();
        assert_eq!(distinct.len(), EXCHANGES.len());
    }
}
