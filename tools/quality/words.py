"""Words that generated cases are made of. Names and things are short and common, so that a small
model knows them; within a list no two begin alike, so that the first token tells them apart."""

NAMES = ("Alice", "Brian", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Irene", "Jack",
         "Karen", "Leo", "Maria", "Noah", "Olivia", "Peter", "Quinn", "Rosa", "Simon", "Teresa",
         "Victor", "Wendy")
CITIES = ("Paris", "London", "Berlin", "Madrid", "Rome", "Vienna", "Dublin", "Oslo", "Tokyo",
          "Lima", "Cairo", "Boston", "Chicago", "Moscow", "Sydney", "Toronto")
SPORTS = ("tennis", "football", "golf", "swimming", "chess", "boxing", "running", "hockey")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NUMBERS = ("three", "four", "five", "seven", "eight", "nine", "eleven", "twelve", "twenty")
SEASONS = ("spring", "summer", "autumn", "winter")
PROFESSIONS = ("teaching", "farming", "baking", "fishing", "nursing", "cooking", "painting")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
          "October", "November", "December")
ADJECTIVES = ("torpid", "grotesque", "supreme", "frail", "energetic", "scattered", "brave", "minor",
              "fluffy", "callous", "eatable", "defeated", "cuddly", "horrible", "guiltless", "oval",
              "unarmed", "needless", "sleepy", "rapid", "ancient", "modern", "hollow", "golden",
              "silent", "bitter", "clever", "dusty", "gentle", "humble")
NOUNS = ("kid", "classmate", "bull", "inversion", "patron", "lamb", "honeydew", "underwear",
         "lemon", "spouse", "purr", "rhythm", "violet", "vaccine", "whip", "friction", "mountain",
         "river", "window", "garden", "pencil", "bottle", "castle", "engine", "forest", "hammer",
         "island", "jacket", "kitchen", "ladder")

# (what the user says of himself, the question, the start of the answer, the values it may have)
FACTS = (("My sister's name is {}.", "What is my sister's name?", "Your sister's name is", NAMES),
         ("My birthday is in {}.", "In which month is my birthday?", "Your birthday is in", MONTHS),
         ("The sport I play on weekends is {}.", "What sport do I play on weekends?",
          "The sport you play on weekends is", SPORTS),
         ("My day off is {}.", "On which day am I free?", "Your day off is", DAYS),
         ("My lucky number is {}.", "What is my lucky number?", "Your lucky number is", NUMBERS),
         ("The season I like most is {}.", "Which season do I like most?",
          "The season you like most is", SEASONS),
         ("My brother's profession is {}.", "What does my brother do for a living?",
          "Your brother's profession is", PROFESSIONS))

# (what is said, and said again; the question and the start of the answer, in other words)
PARAPHRASES = (
    ("The physician is called {}. Remember it: the physician is {}.", "Who is the doctor?",
     "The doctor is", NAMES),
    ("The residence stands in {}. Remember it: the residence is in {}.", "Where is the house?",
     "The house is in", CITIES),
    ("The wedding takes place in {}. Remember it: the wedding is in {}.",
     "When do they get married?", "They get married in", MONTHS),
    ("The locomotive departs on {}. Remember it: the locomotive departs on {}.",
     "When does the train leave?", "The train leaves on", DAYS))

# Secrets that are numbers.
SECRETS = ("pass key", "alarm code", "badge number", "phone extension", "bank PIN")

# Words that a rule asks every answer to begin with.
TAGS = ("Ahoy", "Roger", "Bravo", "Hello", "Yes", "Sure")

# (how the name of a topic begins, how it ends): no two begin alike.
TOPICS = (("the history of", "bread"), ("the psychology of", "creativity"),
          ("the benefits of", "swimming"), ("the impact of", "tourism"),
          ("the role of", "sleep"), ("the art of", "gardening"),
          ("the future of", "trains"), ("the science of", "earthquakes"),
          ("the dangers of", "smoking"), ("the meaning of", "dreams"))
